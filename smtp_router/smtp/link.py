"""One client's connection, below what is said on it."""

import asyncio
from collections.abc import Callable

from smtp_router.smtp.challenges import Challenges
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.wire import Wire

MAX_PIPELINED_OCTETS = 128 * 1024
"""A client that sends more while it should wait for a reply is not read from until it gets one."""


class Link(asyncio.Protocol):
    """The transport, what has come over it, and when it is closed."""

    # What those of one listener have in common
    loop: asyncio.AbstractEventLoop
    _challenges_class: type[Challenges]
    _outbox: Outbox
    _now: Callable[[], float]

    # How every connection begins
    transport: asyncio.Transport | None = None
    _peer = ("", 0)  # no address: a Unix socket
    _peer_is_told = False
    _closing_since: float | None = None
    _is_idle = False  # the next octets begin a command, or content, and nothing else is under way
    _challenges: Challenges | None = None
    _challenged = False
    _is_paused = False
    _is_unread = False

    def __init__(self, peer: tuple[str, int] | None = None) -> None:
        """Be ready for a connection.

        Args:
            peer: the client's address and port, where a proxy has told them.
        """
        self._wire = Wire()
        if peer is not None:
            self._peer = peer
            self._peer_is_told = True

    def pause_writing(self) -> None:
        """The client does not read its replies: then nothing more is read from it."""
        self._is_unread = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_unread = False
        self._resume_reading()

    def _begin_closing(self) -> None:
        self._is_idle = False
        if self._closing_since is None:
            self._closing_since = self._now()

    def _close(self) -> None:
        self._begin_closing()
        if self.transport is not None:
            self._outbox.close(self.transport)

    def _write(self, octets: bytes) -> None:
        """Write, unless the last word is said: it would still go out in front of the end."""
        if self._closing_since is None and self.transport is not None:
            self._outbox.write(self.transport, octets)

    def _pause_reading(self) -> None:
        if self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        wanted = self._is_paused and not self._is_unread and self._wire.buffered <= MAX_PIPELINED_OCTETS
        if wanted and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()

    def _let_others_read(self) -> None:
        """Read no more from this client before the next turn."""
        self._pause_reading()
        self.loop.call_soon(self._resume_reading)

    # The exchange of challenges

    async def _challenge(self, text: bytes) -> bytes | None:
        """Ask the client; what it answers, or `None`: it has heard why that counts for nothing."""
        if self._challenges is None:
            self._challenges = self._challenges_class(self._write, self._peer[0])
        self._challenged = True
        self._answer_challenge()
        return await self._challenges.ask(text)

    def _answer_challenge(self) -> None:
        event = self._wire.next_event() if self._challenged else None
        if event is not None:
            assert self._challenges is not None
            self._challenged = False
            self._challenges.hear(event if isinstance(event, bytes) else b"!")  # no base64
