"""TLS with clients: a listener's context, the handshake, and what came of it."""

import asyncio
import ssl

from smtp_router.config.settings import Listener
from smtp_router.core.message import TLS
from smtp_router.smtp.certificate import Certificate

TLS_HANDSHAKE_S = 30.0
"""How long a client may take."""


class ServerContext(Certificate):
    """A listener's context."""

    def __init__(self, settings: Listener) -> None:
        """Load the certificate.

        Raises:
            OSError: certificate and key cannot be used, or not together.
        """
        assert settings.tls_cert is not None
        super().__init__(settings.tls_cert, settings.tls_key, _server_context)


async def upgrade(
    loop: asyncio.AbstractEventLoop,
    clear: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
) -> asyncio.Transport:
    """Change a client's connection over to TLS.

    Raises:
        OSError: the handshake failed; the connection is closed then, and when this is cancelled.
    """
    encrypted = None
    try:
        encrypted = await loop.start_tls(
            clear, protocol, context, server_side=True, ssl_handshake_timeout=TLS_HANDSHAKE_S
        )
    finally:
        if encrypted is None:
            clear.abort()
    if encrypted is None:
        raise ConnectionError("closed during the handshake")
    return encrypted


def facts(transport: asyncio.BaseTransport) -> TLS | None:
    """How a connection is encrypted; `None` in clear text."""
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return None
    cipher = ssl_object.cipher()
    return TLS(version=ssl_object.version() or "", cipher=cipher[0] if cipher else "")


def _server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
