"""A connection to a downstream, from the first packet to the point where MAIL may be said.

aiosmtplib does the protocol; what it does too leniently is decided here: when TLS has to be there. The
login is in `authentication`.
"""

import asyncio
import ssl
from types import TracebackType
from typing import cast

import aiosmtplib
from aiosmtplib.typing import Default

from smtp_router.config.settings import Downstream, Timeouts
from smtp_router.config.types import HostPort, UnixPath
from smtp_router.core.address import is_loopback
from smtp_router.core.outcome import Deferred, Stage
from smtp_router.core.reply import printable
from smtp_router.smtp.authentication import Authentication
from smtp_router.smtp.client_tls import ClientContexts, ClientTLS, remember_session
from smtp_router.smtp.dialing import dial
from smtp_router.smtp.handover import CLOSING, OUT_OF_STEP
from smtp_router.smtp.lockstep import Lockstep
from smtp_router.smtp.parameters import Peer
from smtp_router.smtp.verdict import AttemptEnded, judge_by, unexpected
from smtp_router.tokens.tokens import Tokens

HELO_CODES = frozenset({500, 501, 502, 504, 550})
"""EHLO is not known here, HELO may be (RFC 5321 3.2)."""
SERVICE_READY = 220


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, which closes at once, and speaks LMTP where it has to.

    A TLS transport's own `close` waits half a minute for a peer that does not answer, with the socket
    open all the while.
    """

    verb = b"EHLO"

    async def ehlo(
        self,
        *,
        hostname: str | None = None,
        timeout: float | Default | None = Default.token,  # noqa: ASYNC109 - the base class has it
    ) -> aiosmtplib.SMTPResponse:
        """EHLO, or LHLO, which takes its place and answers alike (RFC 2033 4.1)."""
        if self.verb == b"EHLO":
            return await super().ehlo(hostname=hostname, timeout=timeout)
        name = hostname or self.local_hostname or ""
        response = await self.execute_command(self.verb, name.encode("ascii"), timeout=timeout)
        if response.code != aiosmtplib.SMTPStatus.completed:
            raise aiosmtplib.SMTPHeloError(response.code, response.message)
        self.last_ehlo_response = response
        return response

    def close(self) -> None:
        """Abort the connection."""
        transport = _writing(self.transport)
        if transport is not None:
            transport.abort()
        super().close()


class Opening:
    """A connection that is being opened; it is ready for mail when `open` has returned.

    Whatever goes wrong comes out as `AttemptEnded`. After that, or after a cancellation, QUIT can be
    said if `in_step`, and otherwise nothing but `abort` is left.
    """

    def __init__(self, downstream: Downstream, timeouts: Timeouts, hostname: str, until: float) -> None:
        """Nothing is connected yet.

        Args:
            downstream: where to, and with which credentials.
            timeouts: per stage, in seconds.
            hostname: what to say in EHLO.
            until: the instant (of the event loop's clock) that no stage may outlast.
        """
        self._downstream = downstream
        self._timeouts = timeouts
        self._until = until
        self._host = downstream.addr.host if isinstance(downstream.addr, HostPort) else "localhost"
        self._client = _Client(hostname=self._host, timeout=None, start_tls=False)
        self._client.local_hostname = hostname  # the settings have seen to it that it is one
        if downstream.protocol == "lmtp":
            self._client.verb = b"LHLO"
        self._login = Authentication(downstream)
        self._protocol: Lockstep | None = None
        self._failed = False

    async def open(self, contexts: ClientContexts, tokens: Tokens) -> None:
        """Connect, start TLS as the configuration wants it, say EHLO, log in.

        Args:
            contexts: what TLS goes by.
            tokens: where access tokens are.

        Raises:
            AttemptEnded: with what became of it.
        """
        await self._connect(contexts)
        await self._say_ehlo()
        if await self._start_tls(contexts):
            await self._say_ehlo()
        if self._downstream.user is not None:
            await self._log_in(tokens)
        remember_session(self.transport)

    @property
    def in_step(self) -> bool:
        """Whether a command can be said."""
        return not self._failed and self._protocol is not None and self._protocol.in_step

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself, for the protocol that takes over."""
        assert self._protocol is not None
        return cast(asyncio.Transport, self._protocol.transport)

    @property
    def peer(self) -> Peer:
        """What was found out about the downstream."""
        encrypted = self.transport.get_extra_info("sslcontext") is not None
        return Peer(
            extensions=frozenset(self._client.esmtp_extensions),
            is_verified=encrypted and self._downstream.tls_verify,
            is_lmtp=self._downstream.protocol == "lmtp",
        )

    def abort(self) -> None:
        """Close at once."""
        self._client.close()

    def _stage(self, stage: Stage, seconds: float, *, is_dialogue: bool = True) -> "_Stage":
        """Do one stage's work within its time; transport failures become outcomes.

        At the end of a dialogue, nothing may be left that nobody has asked for.

        Raises:
            AttemptEnded: it took too long, the connection failed, or a reply was a refusal.
        """
        end = min(asyncio.get_running_loop().time() + seconds, self._until)
        return _Stage(self, stage, asyncio.timeout_at(end), is_dialogue=is_dialogue)

    def check(self) -> None:
        """See that nothing is left that nobody has asked for.

        Raises:
            SMTPServerDisconnected: something is.
        """
        if self._protocol is not None and not self._protocol.in_step:
            raise aiosmtplib.SMTPServerDisconnected(OUT_OF_STEP)

    def failed(self, stage: Stage, error: BaseException) -> None:
        """Take note of what went wrong.

        Raises:
            AttemptEnded: with what it means, unless it is no failure of the downstream's.
        """
        if isinstance(error, aiosmtplib.SMTPResponseException):
            text = self._login.hide(str(error.message))
            judged = judge_by(self._downstream.rules)(stage, error.code, text)
            outcome = judged or unexpected(stage, error.code, text)
            self._failed = outcome.reply is None or error.code == CLOSING
            raise AttemptEnded(outcome) from error
        if isinstance(error, TimeoutError):
            self._failed = True
            raise AttemptEnded(Deferred(stage=stage, reason="timed out")) from error
        if isinstance(error, aiosmtplib.SMTPException | OSError):
            self._failed = True
            raise AttemptEnded(Deferred(stage=stage, reason=_why(error))) from error
        if isinstance(error, asyncio.CancelledError):
            self._failed = True

    async def _connect(self, contexts: ClientContexts) -> None:
        timeouts = self._timeouts
        loop = asyncio.get_running_loop()
        async with self._stage(Stage.CONNECT, timeouts.connect_s):
            self._client.transport, protocol = await dial(
                self._downstream.addr,
                self._downstream.source_address,
                lambda: Lockstep(loop),
                timeouts.connect_s,
            )
        self._protocol = self._client.protocol = protocol
        if self._downstream.implicit_tls:
            async with self._stage(Stage.TLS, timeouts.tls_s):
                context = await self._context(contexts)
            async with self._stage(Stage.TLS, timeouts.tls_s, is_dialogue=False):
                protocol.transport = self._client.transport = await loop.start_tls(
                    self.transport,
                    protocol,
                    context,
                    server_hostname=self._host,
                    ssl_handshake_timeout=timeouts.tls_s,
                )
        async with self._stage(Stage.CONNECT, timeouts.banner_s):
            code, text = await protocol.read_response()
            if code != SERVICE_READY:
                raise aiosmtplib.SMTPResponseException(code, text)

    async def _say_ehlo(self) -> None:
        async with self._stage(Stage.EHLO, self._timeouts.ehlo_s):
            try:
                await self._client.ehlo()
            except aiosmtplib.SMTPHeloError as error:
                is_lmtp = self._downstream.protocol == "lmtp"  # which has no HELO
                if is_lmtp or error.code not in HELO_CODES or not self.in_step:
                    raise
                await self._client.helo()

    async def _start_tls(self, contexts: ClientContexts) -> bool:
        """STARTTLS if it is wanted; whether TLS has begun."""
        if self._downstream.tls == "none" or self._downstream.implicit_tls:
            return False
        if not self._client.supports_extension("starttls"):
            required = self._downstream.tls == "starttls" or (
                self._downstream.user is not None and not self._is_local()
            )
            if required:
                reason = "STARTTLS is required, and not offered"
                raise AttemptEnded(Deferred(stage=Stage.TLS, reason=reason))
            return False
        async with self._stage(Stage.TLS, self._timeouts.tls_s):
            await self._client.starttls(
                server_hostname=self._host,
                tls_context=await self._context(contexts),
                timeout=self._timeouts.tls_s,
            )
        return True

    async def _context(self, contexts: ClientContexts) -> ssl.SSLContext:
        return await contexts.get(ClientTLS.of(self._downstream))

    async def _log_in(self, tokens: Tokens) -> None:
        async with self._stage(Stage.AUTH, self._timeouts.auth_s):
            await self._login.run(self._client, tokens)

    def _is_local(self) -> bool:
        if isinstance(self._downstream.addr, UnixPath):
            return True
        peer = self._client.get_transport_info("peername")
        return bool(peer) and is_loopback(peer[0])


class _Stage:
    """What `Opening` does around each stage; as a generator it would take 3 us more each time."""

    __slots__ = ("_is_dialogue", "_opening", "_stage", "_timer")

    def __init__(
        self, opening: Opening, stage: Stage, timer: asyncio.Timeout, *, is_dialogue: bool
    ) -> None:
        self._opening = opening
        self._stage = stage
        self._timer = timer
        self._is_dialogue = is_dialogue

    async def __aenter__(self) -> None:
        await self._timer.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, trace)
            if error is None and self._is_dialogue:
                self._opening.check()
        except (TimeoutError, aiosmtplib.SMTPException) as end:
            error = end
        if error is not None:
            self._opening.failed(self._stage, error)


def _writing(transport: asyncio.BaseTransport | None) -> asyncio.WriteTransport | None:
    """The transport as what it is; uvloop's do not inherit from asyncio's, so none is asked."""
    return cast(asyncio.WriteTransport | None, transport)


def _why(error: BaseException) -> str:
    """A failure in a few words for logs and plugins."""
    text = str(error) or type(error).__name__
    return printable(text)
