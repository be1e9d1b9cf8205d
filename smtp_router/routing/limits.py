"""How much is sent to whom, and whether there is room for one more message.

Rules:
1. A message takes its place before it is sent, so no limit is overshot however many are sent at once.
2. It keeps it if the downstream took the message or may have; otherwise it gives it back.
3. Whoever shares a meter counts together, each against limits of their own.
"""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from smtp_router.config.limits import Limits
from smtp_router.core.window import Window


class Meter:
    """Counts what is sent under one name."""

    __slots__ = ("__weakref__", "_windows", "taken", "under_way", "waiting")

    again_s = math.inf
    """After so many seconds whoever waits looks again: others than this process may have made room."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.under_way = 0
        self.taken = 0
        """So many were begun in all."""
        self.waiting: list[asyncio.Event] = []
        """To be set when there may be room again."""
        self._windows: Mapping[float, Window] = MappingProxyType({})

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        return self.under_way

    def watch(self, limits: Limits) -> "Room":
        """Count from now on what it takes to know about these limits; says whether they leave room."""
        new = {span: Window(span) for span, _ in limits.windows if span not in self._windows}
        self._windows = {**self._windows, **new}  # replaced, since a reload is in another thread
        windows = tuple([(self._windows[span], count) for span, count in limits.windows])
        return _OwnRoom(self, limits.concurrency, windows)

    def opens_at(self, limits: Limits, now: float) -> float:
        """From which instant on there is room.

        Returns:
            `now` or before it, if there is room; infinity, if there will be when a message is done.
        """
        if limits.concurrency is not None and self.under_way >= limits.concurrency:
            return math.inf
        spans = limits.windows
        return max([self._windows[span].opens_at(now, count) for span, count in spans], default=now)

    def windows(self, limits: Limits, now: float) -> Iterator[tuple[float, int, float]]:
        """Each span of seconds with its limit, and from which instant on it has room."""
        for span, count in limits.windows:
            yield span, count, self._windows[span].opens_at(now, count)

    def take(self, limits: Limits, now: float) -> "Parts | None":
        """Begin one; what it takes, or `None`: others have just taken the last place."""
        del limits  # nobody was in between
        self.under_way += 1
        self.taken += 1
        parts = []
        for window in self._windows.values():
            parts.append((window, window.add(now)))  # noqa: PERF401 - once a message; this takes less
        return parts

    def leave(self, parts: "Parts", *, sent: bool) -> None:
        """End one.

        Args:
            parts: what it took.
            sent: whether the downstream took it or may have; if not, nothing was taken.
        """
        if not sent:
            for window, part in parts:
                window.take_back(part)
        self.under_way -= 1
        for event in self.waiting:
            event.set()

    def wait(self, event: asyncio.Event) -> None:
        """Have this set when there may be room again."""
        self.waiting.append(event)

    def give_up(self, event: asyncio.Event) -> None:
        """Wait no more."""
        self.waiting.remove(event)


class Room(Protocol):
    """What a meter has left for those who keep to certain limits."""

    def is_left(self, now: float) -> bool:
        """Whether there is room for one more message."""
        ...


class _OwnRoom:
    """That of a meter that counts by itself.

    Windows that had room for so many more have it until so many more were taken, whatever the time: so
    they need not be asked for each message.
    """

    __slots__ = ("_concurrency", "_meter", "_sure_below", "_windows")

    def __init__(
        self, meter: Meter, concurrency: int | None, windows: Sequence[tuple[Window, int]]
    ) -> None:
        """They were not asked yet."""
        self._meter = meter
        self._concurrency = math.inf if concurrency is None else concurrency
        self._windows = windows
        self._sure_below: float = -math.inf
        """While fewer were taken, no window is full."""

    def is_left(self, now: float) -> bool:
        """See `Room`."""
        meter = self._meter
        if meter.under_way >= self._concurrency:
            return False
        if meter.taken < self._sure_below:
            return True
        left = min([count - window.total(now) for window, count in self._windows], default=math.inf)
        self._sure_below = meter.taken + left
        return left > 0


class Counting(Protocol):
    """Something that a message takes its part of, as of a `Window`."""

    def take_back(self, part: int) -> None:
        """Count one less."""
        ...


Parts = Sequence[tuple[Counting, int]]
"""What one message has taken, by what it is part of."""
