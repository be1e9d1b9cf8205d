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

    __slots__ = ("__weakref__", "_ended", "_parts", "_windows", "taken", "waiting")

    again_s = math.inf
    """After so many seconds whoever waits looks again: others than this process may have made room."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.taken: float = 0
        """So many were begun in all; infinity: others than this process begin some, too."""
        self._ended = 0
        self.waiting: list[asyncio.Event] = []
        """To be set when there may be room again."""
        self._windows: Mapping[float, Window] = MappingProxyType({})
        self._parts: tuple[Window, ...] = ()
        """Those, too: what each message takes its part of."""

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        return int(self.taken) - self._ended

    def watch(self, limits: Limits) -> None:
        """Count from now on what it takes to know about these limits."""
        new = {span: Window(span) for span, _ in limits.windows if span not in self._windows}
        self._windows = {**self._windows, **new}  # replaced, since a reload is in another thread
        self._parts = tuple(self._windows.values())

    def room(self, limits: Limits, now: float) -> float:
        """For how many more there is room, whatever the time when they come; 0: there is none now."""
        left = [count - self._windows[span].total(now) for span, count in limits.windows]
        if limits.concurrency is not None:
            left.append(limits.concurrency - self.in_flight)
        return max(min(left, default=math.inf), 0)

    def opens_at(self, limits: Limits, now: float) -> float:
        """From which instant on there is room.

        Returns:
            `now` or before it, if there is room; infinity, if there will be when a message is done.
        """
        if limits.concurrency is not None and self.in_flight >= limits.concurrency:
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
        self.taken += 1
        parts = self._parts
        for window in parts:  # see `Window.add`
            if now >= window.ends:
                window.begin(now)
            window.newest += 1
        return parts

    def give_back(self, parts: "Parts", began: float) -> None:
        """One was not sent, so it has taken nothing.

        Args:
            parts: what it took.
            began: when it did.
        """
        for part in parts:
            part.take_back(began)

    def leave(self) -> None:
        """End one."""
        self._ended += 1
        if self.waiting:  # a loop without a turn takes six times as long as this look
            for event in self.waiting:
                event.set()

    def wait(self, event: asyncio.Event) -> None:
        """Have this set when there may be room again."""
        self.waiting.append(event)

    def give_up(self, event: asyncio.Event) -> None:
        """Wait no more."""
        self.waiting.remove(event)


class Part(Protocol):
    """Something that a message takes its part of, as of a `Window`."""

    def take_back(self, then: float) -> None:
        """Count one less of those that were counted at this instant."""
        ...


Parts = Sequence[Part]
"""What one message has taken its part of."""
