"""One client's connection: the only aiosmtpd import.

aiosmtpd's class owns the connection: transport, session, idle timer, and the exchange of AUTH
challenges. Its line-by-line command loop, its address and parameter parsers and its error replies are
not used (see `docs/design.md`): `data_received` feeds a `Wire`, a `Conversation` says what follows, all
complete commands of a segment are answered in one write, and what takes time (a login, a delivery) runs
as the session's one task.
"""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from typing import Any

from aiosmtpd.smtp import SMTP

from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.core.address import unmapped
from smtp_router.core.decision import OUR_FAULT
from smtp_router.core.message import Message, Session
from smtp_router.core.reply import Reply
from smtp_router.smtp import login
from smtp_router.smtp.conversation import Conversation
from smtp_router.smtp.site import Site
from smtp_router.smtp.steps import Answer, LogIn, Receive, StartTls, Step, Submit, answer
from smtp_router.smtp.tls import facts
from smtp_router.smtp.wire import MAX_LINE_OCTETS, CommandLine, Event, Wire

log = logging.getLogger(__name__)

MAX_PIPELINED_OCTETS = 128 * 1024
"""A client that sends more while it should wait for a reply is not read from until it gets one."""

SHUTTING_DOWN = Reply(code=421, enhanced="4.3.2", text="The router is shutting down")
READY_FOR_TLS = b"220 2.0.0 Ready to start TLS\r\n"
TLS_HANDSHAKE_S = 30.0
IDLE = Reply(code=421, enhanced="4.4.2", text="Idle for too long")


class ClientSession(SMTP):
    """The protocol of one connection."""

    line_length_limit = MAX_LINE_OCTETS
    transport: asyncio.Transport | None  # type: ignore[mutable-override]  # all of ours are

    def __init__(
        self,
        site: Site,
        listener: ListenerSettings,
        *,
        context: ssl.SSLContext | None,
        sessions: "set[ClientSession]",
        loop: asyncio.AbstractEventLoop,
        peer: tuple[str, int] | None = None,
    ) -> None:
        """Be ready for a connection.

        Args:
            site: the router.
            listener: what is offered where the client connects.
            context: with the listener's certificate.
            sessions: the register of open sessions, and of closed ones whose task still runs.
            loop: the event loop.
            peer: the client's address and port, where a proxy has told them.
        """
        settings = site.settings
        super().__init__(
            object(),
            hostname=settings.hostname,
            timeout=settings.idle_s,
            enable_SMTPUTF8=True,
            loop=loop,
        )
        self._site = site
        self._sessions = sessions
        self._wire = Wire()
        self._listener = listener
        self._context = context
        self._peer = peer or ("", 0)
        self._peer_is_told = peer is not None
        self._work: asyncio.Task[None] | None = None  # `_task` is taken: asyncio's streams clear it
        self._counted_user: str | None = None
        self._cancelled = False
        self._challenged = False
        self._draining = False
        self._closing = False
        self._last_heard = loop.time()
        self._gone = asyncio.Event()

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: it hears the banner before anything it says is answered."""
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple) and not self._peer_is_told:
            self._peer = (unmapped(peername[0]), peername[1])
        self._conversation = Conversation(
            self._site,
            self._peer[0],
            tls=facts(transport),
            offer_starttls=self._listener.tls == "starttls",
            require_tls=self._listener.require_tls,
        )
        self._sessions.add(self)
        refusal = self._site.guard.connected(self._peer[0])
        refusal = self._count_user(self._conversation.user) or refusal
        if refusal is not None:
            self._say_good_bye(refusal)
        else:
            self._write(f"220 {self.hostname} ESMTP smtp-router\r\n".encode())

    async def _handle_client(self) -> None:
        """aiosmtpd's command loop: nothing is left of it, `data_received` has taken its place."""

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._last_heard = self.loop.time()
        self._wire.feed(data)
        if self._work is None:
            self._advance()
            return
        self._answer_challenge()
        if self._wire.buffered > MAX_PIPELINED_OCTETS and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it is gone, and a delivery not yet passed on is not made."""
        self._closing = True
        self._cancel_task()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by whomever."""
        if self.transport is None:
            return  # told twice, after a TLS handshake that failed
        super().connection_lost(error)
        self._closing = True
        self._cancel_task()
        self._leave()

    def pause_writing(self) -> None:
        """The client does not read its replies: then nothing more is read from it."""
        super().pause_writing()
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._resume_reading()

    def drain(self) -> None:
        """End the session: at once if it is idle, else when its transaction has ended."""
        self._draining = True
        self._part_if_idle()

    async def closed(self) -> None:
        """Wait until the connection is closed and nothing runs for it any more."""
        await self._gone.wait()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        if self._work is not None:
            self._cancelled = True
            self._work.cancel()
            self._work.cancel()
        if self.transport is not None:
            self.transport.abort()

    def _timeout_cb(self) -> None:
        """aiosmtpd's timer: only silence that is the client's turn to break counts."""
        silent_s = self.loop.time() - self._last_heard
        if self._work is not None and not self._challenged:
            self._reset_timeout()
        elif silent_s < self._timeout_duration:
            self._reset_timeout(self._timeout_duration - silent_s)
        else:
            self._say_good_bye(IDLE)

    def _cancel_task(self) -> None:
        """Once: a second cancellation would end a delivery whose final dot is out."""
        if self._work is not None and not self._cancelled:
            self._cancelled = True
            self._work.cancel()

    def _leave(self) -> None:
        """Leave the register when the connection is lost and the task is done."""
        if self._work is None and self.transport is None and not self._gone.is_set():
            self._sessions.discard(self)
            self._site.guard.disconnected(self._peer[0])
            if self._counted_user is not None:
                self._site.guard.logged_out(self._counted_user)
            self._gone.set()

    def _part_if_idle(self) -> None:
        working = self._work is not None and not self._challenged  # else the turn is the client's
        busy = working or self._conversation.in_transaction
        if self._draining and not busy and not self._closing:
            self._say_good_bye(SHUTTING_DOWN)

    def _say_good_bye(self, reply: Reply) -> None:
        self._write(answer(reply).octets)
        self._close()

    def _close(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def _write(self, octets: bytes) -> None:
        if octets and self.transport is not None and not self.transport.is_closing():
            self.transport.write(octets)

    def _resume_reading(self) -> None:
        if self.transport is not None and self._wire.buffered <= MAX_PIPELINED_OCTETS:
            self.transport.resume_reading()

    # From events to answers

    def _advance(self) -> None:
        """Answer all that is complete; the replies of one segment go out in one write."""
        answers: list[bytes] = []
        while self._work is None and not self._closing:
            event = self._wire.next_event()
            if event is None:
                break
            match self._step(event):
                case Answer(octets, close, content):
                    answers.append(octets)
                    self._closing = close
                    if content:
                        self._wire.start_content(self._site.settings.max_message_bytes)
                case Receive(octets, keep):
                    self._wire.start_chunk(octets, keep=keep)
                case StartTls():
                    answers.append(READY_FOR_TLS)
                    self._begin_tls(b"".join(answers))
                    return
                case LogIn(mechanism, initial):
                    self._start(self._log_in(mechanism, initial))
                case Submit() as submit:
                    self._start(self._route(submit))
        self._write(b"".join(answers))
        if self._closing:
            self._close()
        else:
            self._part_if_idle()

    def _step(self, event: Event) -> Step:
        try:
            return self._conversation.on(event)
        except Exception as error:  # noqa: BLE001 - never 5yz, never silence, for our own fault
            return self._fault(error)

    def _start(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        """Run what takes time; nothing else of the session is answered until it is done."""
        self._work = self.loop.create_task(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        try:
            result = await work
        except asyncio.CancelledError:
            result = None
            self._closing = True
        except Exception as error:  # noqa: BLE001 - as above
            result = self._fault(error)
        self._work = None
        self._challenged = False
        self._last_heard = self.loop.time()
        self._leave()
        if self.transport is None or self.transport.is_closing():
            return
        if result is not None:
            self._write(result.octets)
            self._closing = self._closing or result.close
        if self._closing:
            self._close()
            return
        self._advance()
        self._resume_reading()

    def _fault(self, error: Exception) -> Answer:
        fields = {"peer": self._peer[0], "user": self._conversation.user}
        log.error("session failed", extra={"fields": fields}, exc_info=error)
        self._conversation.reset()
        return answer(OUR_FAULT)

    async def _route(self, submit: Submit) -> Answer:
        conversation = self._conversation
        message = Message(
            id=self._site.new_id(),
            user=conversation.user or "",
            session=Session(
                peer=self._peer[0],
                peer_port=self._peer[1],
                ehlo=conversation.ehlo,
                esmtp=conversation.esmtp,
                tls=conversation.tls,
                authenticated=conversation.authenticated,
            ),
            received_at=self._site.wall_clock(),
            mail_from=submit.mail_from,
            rcpt_tos=submit.rcpt_tos,
            mail_parameters=submit.mail_parameters,
            rcpt_parameters=submit.rcpt_parameters,
            content=submit.content,
        )
        reply = await self._site.route(message)
        if self._closing:
            fields = {"id": message.id, "reply": str(reply)}
            log.warning("client gone before the reply", extra={"fields": fields})
        return answer(reply)

    # TLS

    def _begin_tls(self, answers: bytes) -> None:
        """Write what is left to say in clear text, and change over.

        Octets that came along with STARTTLS were sent by somebody who did not wait for its reply: they
        could have been put there by anyone on the way, so the connection ends (RFC 3207 4.2).
        """
        if self._wire.buffered:
            log.warning("text behind STARTTLS", extra={"fields": {"peer": self._peer[0]}})
            self.abort()
            return
        assert self.transport is not None
        self.transport.pause_reading()  # the handshake is not ours to read
        self._write(answers)
        self._start(self._change_over())

    async def _change_over(self) -> None:
        assert self.transport is not None
        assert self._context is not None
        clear = self.transport
        encrypted = None
        try:
            encrypted = await self.loop.start_tls(
                clear, self, self._context, server_side=True, ssl_handshake_timeout=TLS_HANDSHAKE_S
            )
        except OSError as error:
            fields = {"peer": self._peer[0], "error": str(error)}
            log.info("TLS handshake failed", extra={"fields": fields})
        finally:
            if encrypted is None:  # also when cancelled: start_tls does not always tell
                clear.abort()
                if self.transport is not None:
                    self.connection_lost(None)
        if encrypted is None:
            return
        self.transport = encrypted
        tls = facts(encrypted)
        assert tls is not None
        self._conversation.started_tls(tls)
        self._count_user(self._conversation.user)

    # Logging in

    async def push(self, status: str | bytes) -> None:
        """What aiosmtpd writes during a login."""
        octets = status.encode() if isinstance(status, str) else status
        self._write(octets + b"\r\n")

    async def _log_in(self, mechanism: str, initial: bytes | None) -> Answer | None:
        guard, peer = self._site.guard, self._peer[0]
        if refusal := guard.login_begins(peer):
            return answer(refusal, close=True)
        result = await login.log_in(
            mechanism,
            initial,
            self._challenge,
            check=self._site.authenticate,
            find_verifier=self._site.scram_verifier,
        )
        if isinstance(result, str):
            guard.login_succeeded(peer)
            if refusal := self._count_user(result):
                return answer(refusal, close=True)
            return self._conversation.logged_in(result)
        if result != login.FAILURE:  # a broken exchange, which says nothing about a password
            guard.login_succeeded(peer)
            return None if result is None else answer(result)
        log.warning("login failed", extra={"fields": {"peer": peer}})
        await asyncio.sleep(guard.delay_s(peer))
        return self._conversation.logged_in(None)

    def _count_user(self, user: str | None) -> Reply | None:
        """Count the session as this user's only; the reply to refuse it with, if there are too many."""
        if self._counted_user is not None:
            self._site.guard.logged_out(self._counted_user)
        self._counted_user = user
        if user is None:
            return None
        return self._site.guard.logged_in(user, self._site.max_sessions(user))

    async def _challenge(self, text: bytes) -> bytes | None:
        """aiosmtpd's exchange: it reads the line that `_answer_challenge` gives to its reader."""
        self._challenged = True
        self._answer_challenge()
        response = await self.challenge_auth(text)
        return response if isinstance(response, bytes) else None

    def _answer_challenge(self) -> None:
        event = self._wire.next_event() if self._challenged else None
        if event is not None:
            self._challenged = False
            line = event.octets if isinstance(event, CommandLine) else b"!"  # which is no base64
            self._reader.feed_data(line + b"\r\n")
