"""One client's connection, below what is said on it."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smtp_router.smtp.challenges import Challenges
from smtp_router.smtp.guard import Guard
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.patience import Patience
from smtp_router.smtp.register import Register
from smtp_router.smtp.site import Site
from smtp_router.smtp.wire import Wire

MAX_PIPELINED_OCTETS = 128 * 1024
"""A client that sends more while it should wait for a reply is not read from until it gets one."""

NOWHERE = ("", 0)
"""Where clients of a Unix socket are: no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the connections of one listener have in common.

    Args:
        site: the router.
        guard: the router's.
        offer: what clients are told.
        context: with the listener's certificate.
        register: of open sessions, and of closed ones whose task still runs.
        outbox: where they write.
        loop: the event loop.
        now: its clock.
        challenges: asks clients for their passwords.
    """

    site: Site
    guard: Guard
    offer: Offer
    context: ssl.SSLContext | None
    register: Register[Any]
    outbox: Outbox
    loop: asyncio.AbstractEventLoop
    now: Callable[[], float]
    challenges: type[Challenges]


class Link(asyncio.Protocol):
    """The transport, what has come over it, and when it is closed."""

    common: Common

    # How every connection begins. What nearly all of them read before they set it is not here: to read
    # it off the class takes four times as long as off the connection itself.
    transport: asyncio.Transport | None = None
    _peer = NOWHERE
    _is_idle = False  # the next octets begin a command, or content, and nothing else is under way
    _heard = False  # since `_patience` was last asked for
    _own_patience: Patience | None = None
    _own_wire: Wire | None = None
    _challenges: Challenges | None = None
    _challenged = False
    _is_paused = False
    _is_unread = False

    def __init__(self, peer: tuple[str, int] | None = None) -> None:
        """Be ready for a connection.

        Args:
            peer: the client's address and port, where a proxy has told them.
        """
        self._common = self.common
        self._told_peer = peer
        self._closing_since: float | None = None

    @property
    def _wire(self) -> Wire:
        """Cuts what comes, from the first segment on that is neither a command nor whole content."""
        wire = self._own_wire
        if wire is None:
            wire = self._own_wire = Wire()
        return wire

    @property
    def _patience(self) -> Patience:
        """Watches the clock; most clients have gone before anybody looks."""
        patience = self._own_patience
        if patience is None:
            patience = self._own_patience = Patience()
        if self._heard:
            self._heard = False
            patience.begin_turn()
        return patience

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
            self._closing_since = self._common.now()

    def _close(self) -> None:
        self._begin_closing()
        if self.transport is not None:
            self._common.outbox.close(self.transport)

    def _write(self, octets: bytes) -> None:
        """Write, unless the last word is said: it would still go out in front of the end."""
        if self._closing_since is None and self.transport is not None:
            self._common.outbox.write(self.transport, octets)

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
        self._common.loop.call_soon(self._resume_reading)

    # The exchange of challenges

    async def _challenge(self, text: bytes) -> bytes | None:
        """Ask the client; what it answers, or `None`: it has heard why that counts for nothing."""
        if self._challenges is None:
            self._challenges = self._common.challenges(self._write, self._peer[0])
        self._challenged = True
        self._answer_challenge()
        return await self._challenges.ask(text)

    def _answer_challenge(self) -> None:
        event = self._wire.next_event() if self._challenged else None
        if event is not None:
            assert self._challenges is not None
            self._challenged = False
            self._challenges.hear(event if isinstance(event, bytes) else b"!")  # no base64
