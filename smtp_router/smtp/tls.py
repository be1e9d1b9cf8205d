"""TLS contexts, made once and shared: making one costs more than a message does."""

import asyncio
import logging
import ssl
from pathlib import Path

from smtp_router.config.settings import Listener
from smtp_router.core.message import TLS
from smtp_router.disk import Watch

log = logging.getLogger(__name__)

TLS_HANDSHAKE_S = 30.0
"""How long a client may take."""


class ClientContexts:
    """One context for each way that certificates are verified, and the sessions to resume with it."""

    def __init__(self) -> None:
        """None is made yet."""
        self._made: dict[tuple[bool, Path | None], ssl.SSLContext] = {}
        self._making = asyncio.Lock()

    async def get(self, *, verify: bool, ca: Path | None) -> ssl.SSLContext:
        """The context to use; TLS 1.2 and up, the standard library's ciphers.

        Args:
            verify: whether the certificate and the host's name are verified.
            ca: CA certificates to trust instead of the system's.

        Raises:
            OSError: the file of CA certificates cannot be used.
        """
        key = (verify, ca)
        async with self._making:
            if key not in self._made:
                self._made[key] = await asyncio.to_thread(_make, verify=verify, ca=ca)
            return self._made[key]


def _make(*, verify: bool, ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = type("Resuming", (_Resuming,), {"sessions": {}})
    return context


class _Resuming(ssl.SSLObject):
    """Our end of a connection; resumes the last session with the same host, if there is one.

    Sessions belong to a context, and what was verified in one counts for what resumes it.
    """

    sessions: dict[str | None, ssl.SSLSession]
    _has_begun = False

    def do_handshake(self) -> None:
        """Begin the handshake, or go on with it."""
        if not self._has_begun:
            self._has_begun = True
            last = self.sessions.get(self.server_hostname)
            if last is not None:
                self.session = last
        super().do_handshake()

    def remember(self) -> None:
        """Let the next connection resume this session."""
        if self.session is not None:
            self.sessions[self.server_hostname] = self.session


def remember_session(transport: asyncio.BaseTransport) -> None:
    """Let the next connection to this host resume this one's TLS session, if it has one.

    To be called when the other end has said something: a TLS 1.3 ticket comes behind the handshake.
    """
    ssl_object = transport.get_extra_info("ssl_object")
    if isinstance(ssl_object, _Resuming):
        ssl_object.remember()


class ServerContext:
    """A listener's context; its certificate is replaced in place when the files change."""

    def __init__(self, settings: Listener) -> None:
        """Load the certificate.

        Raises:
            OSError: certificate and key cannot be used, or not together.
        """
        assert settings.tls_cert is not None
        self._cert = settings.tls_cert
        self._key = settings.tls_key
        self._watches = [Watch(path) for path in (self._cert, self._key) if path is not None]
        self._look()
        self.context = self._load(_server_context())

    def refresh(self) -> None:
        """Take up a certificate that has changed; one that cannot be used changes nothing."""
        if not any(watch.changed() for watch in self._watches):
            return
        self._look()
        fields = {"tls_cert": str(self._cert)}
        try:
            self._load(_server_context())  # a pair that does not fit would break the live context
            self._load(self.context)
        except OSError as error:
            fields["error"] = str(error)
            log.error(  # noqa: TRY400 - the error says it all
                "certificate not reloaded, the old one stays", extra={"fields": fields}
            )
        else:
            log.info("certificate reloaded", extra={"fields": fields})

    def _look(self) -> None:
        for watch in self._watches:
            watch.look()

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_cert_chain(self._cert, self._key)
        return context


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
