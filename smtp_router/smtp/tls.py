"""TLS with clients: a listener's context, and what came of a handshake."""

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
