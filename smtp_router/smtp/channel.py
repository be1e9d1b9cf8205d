"""A connection to a downstream that is ready for mail.

Rules:
1. One transaction at a time; what comes while there is none, is none of ours, and ends the connection.
2. What comes behind the last reply that was owed ends it as well, and is never taken for the next one.
3. Nothing is awaited here: whoever sends waits for one future, and limits are numbers for the `Alarm`.
4. An outcome is told when all else is done: whoever hears it may use this connection at once.
"""

import asyncio
import math
from collections.abc import Iterator
from typing import Protocol

from smtp_router.core.outcome import Outcome
from smtp_router.errand import Pending
from smtp_router.smtp.alarm import Alarm
from smtp_router.smtp.blocks import Block, blocks
from smtp_router.smtp.handover import Handover, Next
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.parameters import Peer
from smtp_router.smtp.reply_reader import ReplyReader

QUIT_S = 5.0
BLOCKS_PER_TURN = 4
"""As much content as a client's segment has, at most."""

Result = Pending[Outcome]
"""What became of a message."""


class Owner(Protocol):
    """Whoever lends the connection to those who send."""

    def ready(self, channel: "Channel") -> None:
        """It can be used again."""
        ...

    def gone(self, channel: "Channel") -> None:
        """It cannot be used any more."""
        ...


class Channel(asyncio.Protocol):
    """One connection; the protocol of its transport."""

    def __init__(
        self,
        peer: Peer,
        owner: Owner,
        alarm: Alarm,
        channels: "set[Channel]",
        outbox: Outbox,
    ) -> None:
        """Be ready for a transport.

        Args:
            peer: what the downstream can.
            owner: hears when the connection is ready again, and when it is gone.
            alarm: looks after the limits of time, as often as the shortest `Terms` say.
            channels: the register of all that are not closed yet.
            outbox: writes what fits into one write, at the end of a turn of its event loop.
        """
        self.peer = peer
        self._owner = owner
        self._alarm = alarm
        self._channels = channels
        self._outbox = outbox
        self._loop = outbox.loop
        self._reader = ReplyReader()
        self._handover: Handover | None = None
        self._since = 0.0
        """Since when it waits for a reply."""
        self._ends_at = math.inf
        self._block: Block | None = None
        self._turn: asyncio.Handle | None = None
        self._is_paused = False
        self._is_closed = False
        self._closed = asyncio.Event()

    def take_over(self, transport: asyncio.Transport) -> None:
        """Be this transport's protocol from now on."""
        self._transport = transport
        self._channels.add(self)
        self._alarm.watch(self)
        transport.set_protocol(self)
        if transport.is_closing():  # it may have told so already, to whose it was
            self._loop.call_soon(self.connection_lost, None)

    def begin(self, handover: Handover, now: float) -> Result:
        """Begin a handover.

        Args:
            handover: what to say, and by when.
            now: the present instant.

        Returns:
            What is set when the outcome is certain; the connection may be busy a little longer.
        """
        self._handover = handover
        self._since = now
        result: Result = Pending(loop=self._loop)
        self._result = result
        self._outbox.write(self._transport, handover.say)
        if handover.until < self._alarm.at:
            self._alarm.by(handover.until)
        return result

    def cancelled(self, handover: Handover) -> Result | None:
        """Nobody waits for this transaction any more.

        Returns:
            What to wait for all the same, because the outcome is known or has to be; `None` if the
            content had not been passed on: it never will be.
        """
        result: Result = Pending(loop=self._loop)
        if handover.outcome is not None:
            result.set_result(handover.outcome)
        elif handover is self._handover and handover.dot_is_out:
            handover.part()
            self._result = result
        else:
            self.abandon(handover)
            return None
        return result

    def abandon(self, handover: Handover) -> None:
        """Close the connection, if it is still busy with this handover."""
        if handover is self._handover:
            self.close()

    def quit(self) -> None:
        """Say good-bye (RFC 5321 4.1.1.10) and close; nobody waits for it."""
        self._handover = None
        self._outbox.write(self._transport, b"QUIT\r\n")
        self.hurry()

    def hurry(self) -> None:
        """End within the time that a good-bye may take, whatever is under way."""
        self._ends_at = min(self._ends_at, self._loop.time() + QUIT_S)
        self._alarm.by(self._ends_at)

    def close(self) -> None:
        """Close at once; what is not sent yet is not sent any more."""
        if not self._is_closed:
            self._is_closed = True
            self._ends_at = math.inf
            self._handover = self._block = None
            self._transport.abort()  # a TLS transport's `close` would wait for the peer half a minute
            self._owner.gone(self)

    async def closed(self) -> None:
        """Wait until the connection is closed."""
        await self._closed.wait()

    # What the alarm does

    def check(self, now: float) -> float:
        """End what takes too long."""
        handover, due = self._handover, self._ends_at
        if handover is not None:
            due = min(due, handover.due(self._since))
        if now < due:
            return due
        if handover is not None:
            self._outbox.flush()
            if self._transport.get_write_buffer_size():
                handover.dot_is_out = False  # the last of it is still here, and stays
            handover.failed("timed out")
        self.close()
        if handover is not None:
            self._tell(handover)
        return math.inf

    # What the transport does

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        handover = self._handover
        if handover is None:
            self.close()
            return
        if not self._reader.is_partial:
            if not handover.dot_is_out:
                if handover.goes_ahead(data):
                    self._send_content(handover)
                    return
            elif not (result := self._result).done() and (outcome := handover.taken(data)):
                self._handover = None
                self._owner.ready(self)
                result.tell(outcome)  # last: what goes on there may use this connection
                return
        self._go_on(self._one_by_one(data, handover), handover)

    def eof_received(self) -> bool:
        """The downstream says no more."""
        self._lost("the downstream closed the connection")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._lost(str(error) if error else "connection lost")
        self._channels.discard(self)
        self._alarm.forget(self)
        self._closed.set()

    def pause_writing(self) -> None:
        """The transport has more than it can send."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._is_paused = False
        if self._block is not None and self._turn is None:
            self._send_block()

    # What follows

    def _go_on(self, step: Next | None, handover: Handover) -> None:
        """Do what is next, whatever it is; `None`: wait."""
        if step is Next.CONTENT:
            self._send_content(handover)
        elif step is Next.KEEP and not self._result.cancelled():
            self._handover = None
            self._owner.ready(self)
        elif step is not None:
            self._do(step, handover)
            self._since = self._loop.time()
        if handover.outcome is not None and not self._result.done():
            self._result.tell(handover.outcome)  # last, as above

    def _one_by_one(self, data: bytes, handover: Handover) -> Next | None:
        """Read what has come, reply by reply; what is next, or `None` if no reply is whole."""
        replies = self._reader.feed(data)
        step: Next | None = None
        for position, (code, octets) in enumerate(replies, 1):
            step = handover.on_reply(code, octets)
            if step is not Next.WAIT:
                if position < len(replies) or self._reader.is_partial:
                    handover.out_of_step()
                    return Next.CLOSE
                break
        return step

    def _do(self, step: Next, handover: Handover) -> None:
        match step:
            case Next.WAIT:
                pass
            case Next.SAY:
                self._outbox.write(self._transport, handover.say)
            case Next.QUIT | Next.KEEP:  # not kept if whoever waited has not yet had a turn to say so
                self.quit()
                self._owner.gone(self)
            case _:
                self.close()

    def _send_content(self, handover: Handover) -> None:
        """Hand over what fits into one write; of more, a block at a time, as it is taken."""
        content = handover.content
        if self._result.cancelled():  # as above
            self.close()
            return
        if not isinstance(content, bytes):
            self._outbox.flush()
            self._blocks: Iterator[Block] = blocks(content)
            self._block = next(self._blocks)
            self._send_block()
            return
        try:
            handover.on_final()
        except Exception as error:  # noqa: BLE001 - told to who waits; not to the transport
            self.close()
            self._result.fail_later(error)
            return
        self._outbox.write(self._transport, content)
        handover.dot_is_out = True
        self._since = self._loop.time()

    def _send_block(self) -> None:
        """Hand over blocks while each is taken whole; a few of them, since others wait for a turn."""
        self._turn = None
        handover, transport = self._handover, self._transport
        for _ in range(BLOCKS_PER_TURN):
            if self._block is None or self._is_paused or transport.is_closing():
                return
            if self._result.cancelled():
                self.close()
                return
            assert handover is not None
            block, self._block = self._block, next(self._blocks, None)
            if self._block is None:
                handover.content = b"".join(block)
                self._send_content(handover)
                return
            transport.writelines(block)
            if transport.get_write_buffer_size():
                break
        # a transport that takes more than it can send tells so a turn later
        self._turn = self._loop.call_soon(self._send_block)

    def _lost(self, reason: str) -> None:
        handover = self._handover
        if handover is not None:
            handover.lost(reason)
        self.close()
        if handover is not None:
            self._tell(handover)

    def _tell(self, handover: Handover) -> None:
        if handover.outcome is not None and not self._result.done():
            self._result.tell_later(handover.outcome)
