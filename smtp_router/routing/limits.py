"""How much is sent to whom, and whether there is room for one more message.

Rules:
1. A message takes its place before it is sent, so no limit is overshot however many are sent at once.
2. It keeps it if the downstream took the message or may have; otherwise it gives it back.
3. Whoever shares a meter counts together, each against limits of their own.
"""

import asyncio
import math
from collections.abc import Mapping
from types import MappingProxyType

from smtp_router.config.limits import Limits
from smtp_router.core.window import Window

Place = tuple[tuple[Window, int], ...]
"""What a message has taken: a part of each window."""


class Meter:
    """Counts what is sent under one name."""

    __slots__ = ("__weakref__", "_in_flight", "_windows", "waiting")

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._in_flight = 0
        self._windows: Mapping[float, Window] = MappingProxyType({})
        self.waiting: set[asyncio.Event] = set()
        """To be set when there may be room again."""

    def watch(self, limits: Limits) -> None:
        """Count from now on what it takes to know about these limits."""
        new = {span: Window(span) for span, _ in limits.windows if span not in self._windows}
        self._windows = {**self._windows, **new}  # replaced, since a reload is in another thread

    def opens_at(self, limits: Limits, now: float) -> float:
        """From which instant on there is room.

        Returns:
            `now` or before it, if there is room; infinity, if there will be when a message is done.
        """
        if limits.concurrency is not None and self._in_flight >= limits.concurrency:
            return math.inf
        spans = limits.windows
        return max([self._windows[span].opens_at(now, count) for span, count in spans], default=now)

    def take(self, now: float) -> Place:
        """Begin one; whether there is room is for the caller to know."""
        self._in_flight += 1
        return tuple([(window, window.add(now)) for window in self._windows.values()])

    def leave(self, place: Place, *, sent: bool) -> None:
        """End one.

        Args:
            place: what it had taken.
            sent: whether it has used that up.
        """
        self._in_flight -= 1
        if not sent:
            for window, part in place:
                window.take_back(part)
        for event in self.waiting:
            event.set()
