"""One client's session.

`data_received` feeds a `Wire`, a `Conversation` says what follows, all complete commands of a segment
are answered in one write, and what has to wait (a login, a delivery) runs as the session's one task.
"""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from typing import Any

from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.core.address import unmapped
from smtp_router.core.decision import OUR_FAULT
from smtp_router.core.layout import laid_out
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.errand import Errand
from smtp_router.smtp import login
from smtp_router.smtp.challenges import challenges_class
from smtp_router.smtp.conversation import Conversation
from smtp_router.smtp.encryption import FULL_OCTETS, encrypt
from smtp_router.smtp.link import MAX_PIPELINED_OCTETS, NOWHERE, Common, Link
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.patience import LINGER_S
from smtp_router.smtp.register import Register
from smtp_router.smtp.site import Site
from smtp_router.smtp.sockets import has_spoken
from smtp_router.smtp.steps import (
    Answer,
    Farewell,
    LogIn,
    Receive,
    StartTls,
    Step,
    answer,
)
from smtp_router.smtp.tls import TLS_HANDSHAKE_S, facts
from smtp_router.smtp.wire import Event

log = logging.getLogger(__name__)

MAX_STEPS_PER_TURN = 100
"""How many commands of one client are answered before others have their turn."""

SHUTTING_DOWN = Reply(code=421, enhanced="4.3.2", text="The router is shutting down")
TOO_EARLY = Reply(code=421, enhanced="4.7.0", text="Wait for the banner")
READY_FOR_TLS = b"220 2.0.0 Ready to start TLS\r\n"


class ClientSession(Link):
    """The protocol of one connection; see `session_class`."""

    _conversation: Conversation

    # How every session begins, as above
    _later: asyncio.Handle | None = None
    _cancelled = False
    _draining = False
    _is_early = False
    _routed: Message | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: it hears the banner before anything it says is answered."""
        self.transport = transport
        self._work: Errand | None = None
        self._held_octets = 0
        common = self._common
        peer = self._told_peer
        if peer is None:
            peername = transport.get_extra_info("peername")
            peer = (unmapped(peername[0]), peername[1]) if isinstance(peername, tuple) else NOWHERE
        self._peer = peer
        tls = None if common.context is None else facts(transport)
        self._conversation = conversation = Conversation(common.offer, peer, tls)
        common.register.add(self)
        descriptor = transport.get_extra_info("socket").fileno()
        refusal = common.guard.connected(peer[0], descriptor)
        if conversation.user is not None:
            refusal = conversation.count(conversation.user) or refusal
        if refusal is not None:
            self._complain("connection refused", reply=str(refusal))
            self._say_good_bye(refusal)
        elif tls is not None:
            # What was sent along with the handshake comes now, or (uvloop) in the next turn.
            self._is_early = True
            common.loop.call_soon(common.loop.call_soon, self._greet_late)
        elif has_spoken(descriptor):
            self._refuse_early_talker()
        else:
            self._is_idle = True
            # At once: it is the end of a turn already, and the outbox would make it one turn more.
            transport.write(common.offer.banner())

    def data_received(self, data: bytes) -> None:
        """Octets have come.

        All there is to a command, or to content, mostly comes in one segment, from clients that wait for
        each reply. Then it goes around the wire, which would take three times as long for the same.
        """
        if self._is_idle and self._work is None:
            conversation = self._conversation
            at_once = conversation.at_once
            try:
                step = at_once(conversation, data)
            except Exception as error:  # noqa: BLE001 - as in `_step`
                step = self._fault(error)
            if step.__class__ is Answer:
                self._common.outbox.write(self.transport, step.octets)  # type: ignore[arg-type]  # it is open
                self._heard = True
                return
            if step.__class__ is Message:
                self._submit(step)
                return
            if step is not None:
                self._go_on(step)
                return
        self._is_idle = False
        self._hear(data)

    def _go_on(self, step: Step) -> None:
        """Do what follows from a segment now and then: once a session, or seldom."""
        if isinstance(step, Farewell):
            self._common.outbox.write(self.transport, step.octets)  # type: ignore[arg-type]  # as above
            self._close()
        else:
            self._is_idle = False
            self._advance(step)

    def _hear(self, data: bytes) -> None:
        """Octets have come, in whatever pieces."""
        if self._is_early:
            self._refuse_early_talker()
            return
        if self._conversation.awaits_content:
            self._begin_content()
        if self._wire.in_body:
            self._patience.hear(len(data))
        self._wire.feed(data)
        if self._work is None and self._later is None:
            self._advance()
            if len(data) >= FULL_OCTETS and self._wire.in_body:
                self._let_others_read()
            return
        self._answer_challenge()
        if self._wire.buffered > MAX_PIPELINED_OCTETS:
            self._pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it is gone, and a delivery not yet passed on is not made."""
        self._common.outbox.flush()
        self._begin_closing()
        self._cancel_task()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by whomever."""
        del error
        if self.transport is None:
            return  # told twice, after a TLS handshake that failed
        self.transport = None
        if self._closing_since is None:
            self._begin_closing()
        if self._work is None:
            self._leave()
        else:
            self._cancel_task()

    def drain(self) -> None:
        """End the session: at once if it is idle, else when its transaction has ended."""
        self._draining = True
        self._is_idle = False
        self._part_if_idle()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._cancel_task()
        if self._work is not None:
            self._work.cancel()
        if self.transport is not None:
            self.transport.abort()

    def check(self, now: float) -> None:
        """See whether the client uses up the time it has; to be called now and then."""
        if self._closing_since is not None:
            late = now - self._closing_since >= LINGER_S and self._work is None
            if late and self.transport is not None:
                self.transport.abort()  # it does not read what it was told
            return
        if self._later is not None or (self._work is not None and not self._challenged):
            return  # it is our turn
        if self._conversation.awaits_content:
            self._patience.begin_upload()
        reply = self._patience.verdict(self._common.site.settings, now)
        if reply is not None:
            self._complain("client timed out", reply=str(reply))
            self._say_good_bye(reply)

    def _greet_late(self) -> None:
        self._is_early = False
        if self._closing_since is None and self.transport is not None:
            self._is_idle = True
            self._common.outbox.write(self.transport, self._common.offer.banner())

    def _refuse_early_talker(self) -> None:
        """What speaks before the banner does not listen: it is no mail client (RFC 5321 3.1)."""
        if self._closing_since is None:
            self._complain("spoke before the banner")
            self._say_good_bye(TOO_EARLY)

    def _complain(self, cause: str, *, level: int = logging.WARNING, **fields: object) -> None:
        self._common.guard.complaints.write(cause, level=level, peer=self._peer[0], **fields)

    def _cancel_task(self) -> None:
        """Once: a second cancellation would end a delivery whose final dot is out."""
        if self._work is not None and not self._cancelled:
            self._cancelled = True
            if self._routed is not None:
                self._common.site.gone(self._routed)
            self._work.cancel()

    def _leave(self) -> None:
        """The connection is lost, and the task is done."""
        common = self._common
        guard, user = common.guard, self._conversation.counted_as
        if self._held_octets:
            self._hold(0)
        guard.disconnected(self._peer[0])
        if user is not None:
            guard.logged_out(user)
        common.register.discard(self)

    def _part_if_idle(self) -> None:
        working = self._work is not None and not self._challenged  # else the turn is the client's
        busy = working or self._conversation.in_transaction
        if self._draining and not busy and self._closing_since is None:
            self._say_good_bye(SHUTTING_DOWN)

    def _say_good_bye(self, reply: Reply) -> None:
        self._write(answer(reply).octets)
        self._close()

    def _hold(self, octets: int) -> None:
        """Tell how much content is in memory for this session."""
        self._common.guard.hold(octets - self._held_octets)
        self._held_octets = octets

    # From events to answers

    def _advance(self, step: Step | None = None) -> None:
        """Answer all that is complete; the replies of one segment go out in one write.

        Args:
            step: what follows from an event that is taken already, and comes first.
        """
        self._later = None
        said = b"" if step is None else self._follow(step, b"")
        for _ in range(MAX_STEPS_PER_TURN):
            if self._work is not None or self._closing_since is not None:
                break
            event = self._wire.next_event()
            if event is None:
                break
            said = self._follow(self._step(event), said)
        else:
            self._later = self._common.loop.call_soon(self._advance)
        if said:
            self._write(said)
        self._settle()

    def _follow(self, step: Step, said: bytes) -> bytes:
        """Do what a step asks for.

        Args:
            step: what follows from an event.
            said: what was answered before, and is not written yet.

        Returns:
            What is to be written by now.
        """
        if not isinstance(step, Answer):
            if said:
                self._write(said)
                said = b""
            result = self._do(step)
            if result is None:
                return said
            step = result
        self._patience.begin_turn()
        if isinstance(step, Farewell):
            self._write(said + step.octets)
            self._close()
            return b""
        if self._conversation.awaits_content and self._wire.buffered:
            self._begin_content()
        return said + step.octets

    def _begin_content(self) -> None:
        """Content comes in pieces."""
        self._patience.begin_upload()
        self._wire.start_content(self._conversation.begin_content())

    def _settle(self) -> None:
        """See what the answers have changed."""
        if self._closing_since is not None:
            self._close()
        elif self._work is None:
            self._rest()
            if self._is_paused:
                self._resume_reading()
            if self._draining:
                self._part_if_idle()

    def _rest(self) -> None:
        """It is the client's turn, unless there is more of what it has said."""
        held_octets = self._conversation.held_octets
        if held_octets != self._held_octets:
            self._hold(held_octets)
        self._is_idle = (
            not held_octets and not self._draining and self._later is None and self._wire.is_clear
        )

    def _do(self, step: Receive | StartTls | LogIn | Message) -> Answer | None:
        """What is more than an answer; it may follow later."""
        if isinstance(step, Message):
            self._submit(step)
        elif isinstance(step, LogIn):
            work = Errand(self._common.loop, self._run(self._log_in(step)))
            if not work.is_done:
                self._work = work
        elif isinstance(step, Receive):
            self._patience.begin_turn()
            self._patience.begin_upload()
            self._wire.start_chunk(step.octets, step.body)
        else:
            self._begin_tls()
        return None

    def _step(self, event: Event) -> Step:
        try:
            return self._conversation.on(event)
        except Exception as error:  # noqa: BLE001 - never 5yz, never silence, for our own fault
            return self._fault(error)

    def _submit(self, message: Message) -> None:
        """Have a message routed; nothing else of the session is answered until that is done."""
        common = self._common
        common.guard.hold(message.size - self._held_octets)
        self._held_octets = message.size
        self._routed = message
        work = Errand(common.loop, self._route(message))
        if not work.is_done:
            self._work = work

    async def _run(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        try:
            result = await work
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - as in `_step`
            result = self._ended_by(error)
        self._finish(result)

    async def _route(self, message: Message) -> None:
        result: Answer | None
        try:
            common = self._common
            route = common.site.route
            reply = await route(message)
            transport = self.transport
            if transport is None or transport.is_closing() or self._closing_since is not None:
                self._routed = None
                fields = {"id": message.id, "reply": str(reply)}
                log.warning("client gone before the reply", extra={"fields": fields})
                common.site.gone(message, reply)
            elif self._is_idle:  # and nothing else was said meanwhile, as nearly always
                common.outbox.write(transport, f"{reply!s}\r\n".encode())
                self._work = self._routed = None
                self._heard = True
                common.guard.hold(-self._held_octets)
                self._held_octets = 0
                return
            result = answer(reply)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - as in `_step`
            result = self._ended_by(error)
        self._routed = None
        self._finish(result)

    def _ended_by(self, error: BaseException) -> Answer | None:
        """What is to be said about work that was cut off, or that failed."""
        if isinstance(error, Exception):
            return self._fault(error)
        self._begin_closing()
        return None

    def _finish(self, result: Answer | None) -> None:
        """Go on behind work that is done."""
        had_to_wait, self._work = self._work is not None, None
        self._challenged = False
        self._patience.begin_turn()
        transport = self.transport
        if transport is None:
            self._leave()
        elif not transport.is_closing():
            if result is not None:
                self._write(result.octets)
                if isinstance(result, Farewell):
                    self._begin_closing()
            if had_to_wait or self._is_idle:  # else `_advance` has begun it, and goes on
                self._advance()

    def _fault(self, error: Exception) -> Answer:
        fields = {"peer": self._peer[0], "user": self._conversation.user}
        log.error("session failed", extra={"fields": fields}, exc_info=error)
        self._conversation.reset()
        return answer(OUR_FAULT)

    # TLS

    def _begin_tls(self) -> None:
        """Agree, and change over.

        Octets that came along with STARTTLS were sent by somebody who did not wait for its reply: they
        could have been put there by anyone on the way, so the connection ends (RFC 3207 4.2).
        """
        if self._wire.buffered:
            self._complain("text behind STARTTLS")
            self._begin_closing()
            self.abort()
            return
        assert self.transport is not None
        self._write(READY_FOR_TLS)
        self._common.outbox.flush()
        self._work = Errand(self._common.loop, self._run(self._change_over()))

    async def _change_over(self) -> None:
        assert self.transport is not None
        assert self._common.context is not None
        try:
            self.transport = await encrypt(
                self.transport, self, self._common.context, is_server=True, handshake_s=TLS_HANDSHAKE_S
            )
        except OSError as error:
            self._complain("TLS handshake failed", level=logging.INFO, error=str(error))
            self.connection_lost(None)
            return
        except asyncio.CancelledError:
            self.connection_lost(None)
            raise
        tls = facts(self.transport)
        assert tls is not None
        self._conversation.started_tls(tls)

    # Logging in

    async def _log_in(self, step: LogIn) -> Answer | None:
        guard, peer = self._common.guard, self._peer[0]
        if refusal := guard.login_begins(peer):
            return answer(refusal, close=True)
        result = await login.log_in(
            step.mechanism,
            step.initial,
            self._ask,
            check=self._common.site.authenticate,
            find_verifier=self._common.site.scram_verifier,
        )
        if isinstance(result, str):
            guard.login_succeeded(peer)
            return self._conversation.logged_in(result)
        if result != login.FAILURE:  # a broken exchange, which says nothing about a password
            guard.login_succeeded(peer)
            return None if result is None else answer(result)
        log.warning("login failed", extra={"fields": {"peer": peer}})
        await asyncio.sleep(guard.delay_s(peer))
        return self._conversation.logged_in(None)

    async def _ask(self, text: bytes) -> bytes | None:
        self._patience.begin_turn()
        return await self._challenge(text)


def session_class(
    site: Site,
    settings: ListenerSettings,
    *,
    context: ssl.SSLContext | None,
    register: Register[ClientSession],
    loop: asyncio.AbstractEventLoop,
    outbox: Outbox | None = None,
) -> type[ClientSession]:
    """The class of one listener's sessions, who have this in common.

    Args:
        site: the router.
        settings: what is offered where the client connects.
        context: with the listener's certificate.
        register: of open sessions, and of closed ones whose task still runs.
        loop: the event loop.
        outbox: where they write; by default, one of their own.
    """
    offer = Offer(site, starttls=settings.tls == "starttls", require_tls=settings.require_tls)
    common = Common(
        site=site,
        guard=site.guard,
        offer=offer,
        context=context,
        register=register,
        outbox=outbox or Outbox(loop),
        loop=loop,
        now=loop.time,
        challenges=challenges_class(site.settings.hostname, loop),
    )
    return laid_out(type("ListenerSession", (ClientSession,), {"common": common}))
