"""A connection to a downstream, from the first packet to the point where MAIL may be said.

What is said on it is in `lockstep`, the login in `authentication`; decided here is when TLS has to be
there, how long each stage may take, and what a failure means.
"""

import asyncio
import math
import ssl

from aiosmtplib import (
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from smtp_router.config.settings import Downstream, Timeouts
from smtp_router.config.types import HostPort, UnixPath
from smtp_router.core.address import is_loopback
from smtp_router.core.outcome import Deferred, Outcome, Stage
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
CLOCK_GRAIN_S = 0.001
"""Of the event loop's timers, which may go off a little early."""


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
        self._hostname = hostname
        self._until = until
        self._host = downstream.addr.host if isinstance(downstream.addr, HostPort) else "localhost"
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
        clock = _Clock(self._until)
        try:
            await self._open(contexts, tokens, clock)
        except asyncio.CancelledError as error:
            self._failed = True
            if not clock.has_struck():
                raise
            raise AttemptEnded(Deferred(stage=clock.stage, reason="timed out")) from error
        except (SMTPException, OSError) as error:
            raise AttemptEnded(self._outcome(clock.stage, error)) from error
        finally:
            clock.stop()

    @property
    def in_step(self) -> bool:
        """Whether a command can be said."""
        return not self._failed and self._protocol is not None and self._protocol.in_step

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself, for the protocol that takes over."""
        assert self._protocol is not None
        assert self._protocol.transport is not None
        return self._protocol.transport

    @property
    def peer(self) -> Peer:
        """What was found out about the downstream."""
        assert self._protocol is not None
        encrypted = self.transport.get_extra_info("sslcontext") is not None
        return Peer(
            extensions=frozenset(self._protocol.extensions),
            is_verified=encrypted and self._downstream.tls_verify,
            is_lmtp=self._downstream.protocol == "lmtp",
        )

    def abort(self) -> None:
        """Close at once: a TLS transport's own `close` would wait for what is not sent yet."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()

    async def _open(self, contexts: ClientContexts, tokens: Tokens, clock: "_Clock") -> None:
        timeouts = self._timeouts
        clock.begin(Stage.CONNECT, timeouts.connect_s)
        protocol = self._protocol = await self._connect(timeouts.connect_s)
        if self._downstream.implicit_tls:
            clock.begin(Stage.TLS, timeouts.tls_s)
            context = await self._context(contexts)
            self._check(protocol)
            await protocol.encrypt(context, self._host)
        clock.begin(Stage.CONNECT, timeouts.banner_s)
        code, text = await protocol.read_response()
        if code != SERVICE_READY:
            raise SMTPResponseException(code, text)
        self._check(protocol)
        clock.begin(Stage.EHLO, timeouts.ehlo_s)
        await self._say_ehlo(protocol)
        if self._wants_tls(protocol):
            clock.begin(Stage.TLS, timeouts.tls_s)
            await protocol.start_tls(await self._context(contexts), self._host)
            self._check(protocol)
            clock.begin(Stage.EHLO, timeouts.ehlo_s)
            await self._say_ehlo(protocol)
        if self._downstream.user is not None:
            clock.begin(Stage.AUTH, timeouts.auth_s)
            await self._login.run(protocol, tokens)
            self._check(protocol)
        remember_session(self.transport)

    async def _connect(self, seconds: float) -> Lockstep:
        loop = asyncio.get_running_loop()
        addr, source = self._downstream.addr, self._downstream.source_address
        _, protocol = await dial(addr, source, lambda: Lockstep(loop), seconds)
        return protocol

    async def _say_ehlo(self, protocol: Lockstep) -> None:
        is_lmtp = self._downstream.protocol == "lmtp"  # which has no HELO
        try:
            await protocol.ehlo(self._hostname, verb="LHLO" if is_lmtp else "EHLO")
        except SMTPHeloError as error:
            if is_lmtp or error.code not in HELO_CODES or not self.in_step:
                raise
            await protocol.helo(self._hostname)
        self._check(protocol)

    def _wants_tls(self, protocol: Lockstep) -> bool:
        """Whether STARTTLS is to be said.

        Raises:
            AttemptEnded: it has to be, and is not offered.
        """
        downstream = self._downstream
        if downstream.tls == "none" or downstream.implicit_tls:
            return False
        if "starttls" in protocol.extensions:
            return True
        if downstream.tls == "starttls" or (downstream.user is not None and not self._is_local()):
            reason = "STARTTLS is required, and not offered"
            raise AttemptEnded(Deferred(stage=Stage.TLS, reason=reason))
        return False

    async def _context(self, contexts: ClientContexts) -> ssl.SSLContext:
        return await contexts.get(ClientTLS.of(self._downstream))

    def _is_local(self) -> bool:
        if isinstance(self._downstream.addr, UnixPath):
            return True
        peer = self.transport.get_extra_info("peername")
        return bool(peer) and is_loopback(peer[0])

    def _check(self, protocol: Lockstep) -> None:
        """See that nothing is left that nobody has asked for.

        Raises:
            SMTPServerDisconnected: something is.
        """
        if not protocol.in_step:
            raise SMTPServerDisconnected(OUT_OF_STEP)

    def _outcome(self, stage: Stage, error: Exception) -> Outcome:
        """What a failure means."""
        if isinstance(error, SMTPResponseException):
            text = self._login.hide(str(error.message))
            judged = judge_by(self._downstream.rules)(stage, error.code, text)
            outcome = judged or unexpected(stage, error.code, text)
            self._failed = outcome.reply is None or error.code == CLOSING
            return outcome
        self._failed = True
        return Deferred(stage=stage, reason=_why(error))


class _Clock:
    """Cancels its task when a stage takes too long.

    One timer for all stages, which is put off when it goes off too early: a timer for each takes twice
    the Python of the dialogue itself.
    """

    def __init__(self, until: float) -> None:
        """No stage has begun.

        Args:
            until: the instant that none may outlast.
        """
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = task.get_loop()
        self._until = until
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf
        self._has_struck = False

    def begin(self, stage: Stage, seconds: float) -> None:
        """A stage begins, for which there is so much time."""
        self.stage = stage
        self._due = min(self._loop.time() + seconds, self._until)
        if self._due < self._at:
            self.stop()
            self._set()

    def stop(self) -> None:
        """Do not cancel any more."""
        if self._timer is not None:
            self._timer.cancel()

    def has_struck(self) -> bool:
        """Whether it was this that has cancelled the task, and nobody else; to be asked once."""
        return self._has_struck and self._task.uncancel() <= self._cancelling

    def _set(self) -> None:
        self._at = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        if self._loop.time() + CLOCK_GRAIN_S < self._due:
            self._set()
        else:
            self._has_struck = True
            self._task.cancel()


def _why(error: BaseException) -> str:
    """A failure in a few words for logs and plugins."""
    if isinstance(error, TimeoutError):
        return "timed out"
    text = str(error) or type(error).__name__
    return printable(text)
