"""TLS with downstreams: contexts, made once and shared; making one costs more than a message does."""

import asyncio
import ssl
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from smtp_router.config.settings import Downstream
from smtp_router.smtp.certificate import Certificate

REUSED_S = 60.0
"""How long one session is resumed before a newer one takes its place.

To read one off a connection takes OpenSSL 3.0, which takes its certificate apart again, an eighth of
all that a message costs with a new connection over TLS on both sides (1.6 million instructions of 13.3).
That a ticket should serve one connection only (RFC 8446 C.4) hides from an observer that two connections
come from the same client: between two mail servers that is no secret.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """What a connection's TLS goes by; TLS 1.2 and up, the standard library's ciphers.

    Args:
        verify: whether the certificate and the host's name are verified.
        ca: CA certificates to trust instead of the system's.
        cert: the router's own certificate, for servers that ask for one.
        key: its private key; `None`: in the same file.
    """

    verify: bool = True
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, downstream: Downstream) -> Self:
        """What a downstream's settings say."""
        return cls(
            verify=downstream.tls_verify,
            ca=downstream.tls_ca,
            cert=downstream.tls_client_cert,
            key=downstream.tls_client_key,
        )


class ClientContexts:
    """One context for each way to connect, and the sessions to resume with it."""

    def __init__(self) -> None:
        """None is made yet."""
        self._made: dict[ClientTLS, _Made] = {}
        self._making = asyncio.Lock()

    async def get(self, wanted: ClientTLS) -> ssl.SSLContext:
        """The context to use.

        Raises:
            OSError: the CA certificates, or certificate and key, cannot be used.
        """
        async with self._making:
            if wanted not in self._made:
                self._made[wanted] = await asyncio.to_thread(_Made, wanted)
            return self._made[wanted].context

    def refresh(self) -> None:
        """Take up certificates that have changed; connections that are open keep theirs."""
        for made in self._made.values():
            if made.certificate is not None:
                made.certificate.refresh()

    def retain(self, wanted: Container[ClientTLS]) -> None:
        """Forget all others."""
        for known in [known for known in self._made if known not in wanted]:
            del self._made[known]


class _Made:
    """A context, and the certificate in it if there is one."""

    def __init__(self, wanted: ClientTLS) -> None:
        self.certificate: Certificate | None = None
        if wanted.cert is None:
            self.context = _client_context(wanted)
        else:
            self.certificate = _ClientCertificate(
                wanted.cert, wanted.key, lambda: _client_context(wanted)
            )
            self.context = self.certificate.context


def _client_context(wanted: ClientTLS) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=wanted.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not wanted.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = type("Resuming", (_Resuming,), {"sessions": {}, "once": set()})
    return context


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A session to resume.

    Args:
        session: from an earlier connection.
        until: the instant from which on a newer one takes its place.
        is_proven: whether it was resumed.
    """

    session: ssl.SSLSession
    until: float
    is_proven: bool = False


class _Resuming(ssl.SSLObject):
    """Our end of a connection; resumes the last session with the same host, if there is one.

    Sessions belong to a context, and what was verified in one counts for what resumes it.
    """

    sessions: dict[str | None, _Kept]
    once: set[str | None]
    """Hosts that do not resume a session twice, or not for long."""
    _offered: _Kept | None = None
    _has_begun = False

    def do_handshake(self) -> None:
        """Begin the handshake, or go on with it."""
        if not self._has_begun:
            self._has_begun = True
            self._offered = self.sessions.get(self.server_hostname)
            if self._offered is not None:
                self.session = self._offered.session
        super().do_handshake()

    def remember(self, now: float) -> None:
        """Let the next connections resume this session, unless that would resume the one of before."""
        host, offered = self.server_hostname, self._offered
        if offered is not None and self.session_reused:
            offered.is_proven = True
            if now < offered.until and host not in self.once:
                return
        elif offered is not None and offered.is_proven:
            self.once.add(host)
        session = self.session  # a copy, each time
        if session is not None:
            self.sessions[host] = _Kept(session=session, until=now + REUSED_S)


def remember_session(transport: asyncio.BaseTransport) -> None:
    """Let the next connections to this host resume this one's TLS session, if it has one.

    To be called when the other end has said something: a TLS 1.3 ticket comes behind the handshake.
    """
    ssl_object = transport.get_extra_info("ssl_object")
    if isinstance(ssl_object, _Resuming):
        ssl_object.remember(asyncio.get_running_loop().time())


class _ClientCertificate(Certificate):
    """One that we show to downstreams."""

    def _replaced(self) -> None:
        """What is resumed is resumed as who we were then."""
        kind = self.context.sslobject_class
        assert issubclass(kind, _Resuming)
        kind.sessions.clear()
