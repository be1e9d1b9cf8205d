"""Which connection a message goes over, and which ones are closed: decided here, done elsewhere.

Rules:
1. The connection that came back last is lent first, so that those nobody needs grow old and go.
2. There are never more than `max_connections`, those being opened counted. Who comes later waits in
   line, and what becomes free goes to those who wait in the order in which they came.
3. No I/O and no clock: the caller says what time it is, and closes what it is told to.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from smtp_router.config.pool import PoolLimits

Connection = TypeVar("Connection")
Waiter = TypeVar("Waiter")


@dataclass(slots=True, eq=False)
class Slot(Generic[Connection]):
    """Room for one connection.

    Args:
        opened_at: since when.
        too_old_at: from when on it is used no more.
        connection: `None` until it is opened, by whoever has the slot.
        messages: for how many it was lent.
        idle_since: when it came back.
        expires_at: when it is idle for too long, or too old.
    """

    opened_at: float
    too_old_at: float
    connection: Connection | None = None
    messages: int = 0
    idle_since: float = 0.0
    expires_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Grant(Generic[Connection, Waiter]):
    """Somebody's turn has come."""

    waiter: Waiter
    slot: Slot[Connection]


class Pool(Generic[Connection, Waiter]):
    """The connections to one downstream with one login."""

    def __init__(self, name: str, limits: PoolLimits) -> None:
        """Nothing is open.

        Args:
            name: for `repr`: where to, and as whom.
            limits: how many, and for how long.
        """
        self._name = name
        self._max_connections = limits.max_connections
        self._max_messages = limits.max_messages_per_connection
        self._idle_s = limits.idle_s
        self._max_age_s = limits.max_connection_age_s
        self._slots: set[Slot[Connection]] = set()
        self._idle: list[Slot[Connection]] = []
        self._waiting: deque[Waiter] = deque()

    def __repr__(self) -> str:
        """Where to, and how many do what."""
        opening = sum(slot.connection is None for slot in self._slots)
        busy = len(self._slots) - len(self._idle) - opening
        retired = ", retired" if self.is_retired else ""
        return (
            f"<Pool {self._name}: {busy} busy, {len(self._idle)} idle, {opening} opening"
            f" of {self._max_connections}, {len(self._waiting)} waiting{retired}>"
        )

    @property
    def is_retired(self) -> bool:
        """Whether it keeps nothing any more."""
        return self._max_messages == 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no connection, and nobody who waits for one."""
        return not self._slots and not self._waiting

    @property
    def idle_since(self) -> float:
        """Since when its longest idle connection is; `math.inf` if none is."""
        return self._idle[0].idle_since if self._idle else math.inf

    def at_hand(self, now: float) -> Connection | None:
        """What `take` would lend with nothing to open or close, as nearly always; else `None`."""
        idle = self._idle
        if not idle or now >= idle[-1].expires_at:
            return None
        slot = idle.pop()
        slot.messages += 1
        return slot.connection

    def take(
        self, now: float, *, fresh: bool = False
    ) -> tuple[Slot[Connection] | None, Sequence[Connection]]:
        """Ask for a connection for one message.

        Args:
            now: the present instant.
            fresh: not one that was used before.

        Returns:
            A slot, or `None`: then wait. And what to close.
        """
        close = self.expire(now) if self._idle and now >= self._idle[-1].expires_at else []
        if self._idle and not fresh:
            slot = self._idle.pop()
            slot.messages += 1
            return slot, close
        if self._idle and self._is_full:
            close = [*close, *self.evict()]
        return (None if self._is_full else self._open(now)), close

    def wait(self, waiter: Waiter, *, first: bool = False) -> None:
        """Wait in line, or in front of it."""
        if first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def turn_away(self) -> Sequence[Waiter]:
        """Those who wait in line, who do so no more."""
        waiting = tuple(self._waiting)
        self._waiting.clear()
        return waiting

    def give_back(
        self, slot: Slot[Connection], now: float
    ) -> tuple[Grant[Connection, Waiter] | None, Sequence[Connection]]:
        """A connection can be used again.

        Returns:
            Whose turn it is now, if somebody waits. And what to close.
        """
        too_old_at = slot.too_old_at
        if slot.messages >= self._max_messages or now >= too_old_at:
            assert slot.connection is not None
            return self.drop(slot, now), (slot.connection,)
        if self._waiting:
            slot.messages += 1
            return Grant(self._waiting.popleft(), slot), ()
        slot.idle_since = now
        slot.expires_at = min(now + self._idle_s, too_old_at)
        self._idle.append(slot)
        return None, ()

    def drop(self, slot: Slot[Connection], now: float) -> Grant[Connection, Waiter] | None:
        """A connection is no more, or was never made; whose turn it is to open one. Twice is no harm."""
        if slot not in self._slots:
            return None
        self._slots.remove(slot)
        if slot in self._idle:
            self._idle.remove(slot)
        if self._waiting and not self._is_full:
            return Grant(self._waiting.popleft(), self._open(now))
        return None

    def expire(self, now: float) -> Sequence[Connection]:
        """What is idle for too long, or too old; to be closed."""
        return self._remove([slot for slot in self._idle if now >= slot.expires_at])

    def next_expiry(self, now: float) -> float:
        """When to ask for that again; what comes back from now on is idle for `idle_s` before that."""
        instants = [slot.expires_at for slot in self._idle]
        instants += [slot.too_old_at for slot in self._slots if now < slot.too_old_at]
        return min(instants, default=math.inf)

    def evict(self) -> Sequence[Connection]:
        """What has been idle for longest, if anything; to be closed."""
        return self._remove(self._idle[:1])

    def retire(self) -> Sequence[Connection]:
        """Keep nothing from now on; what is idle, to be closed."""
        self._max_messages = 0
        return self._remove(list(self._idle))

    @property
    def _is_full(self) -> bool:
        return len(self._slots) >= self._max_connections

    def _open(self, now: float) -> Slot[Connection]:
        slot: Slot[Connection] = Slot(now, now + self._max_age_s, messages=1)
        self._slots.add(slot)
        return slot

    def _remove(self, slots: Sequence[Slot[Connection]]) -> Sequence[Connection]:
        for slot in slots:
            self._idle.remove(slot)
            self._slots.remove(slot)
        return [slot.connection for slot in slots if slot.connection is not None]
