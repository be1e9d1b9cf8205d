"""What happened lately: how often within a span of time, and how long it took."""

import math
from bisect import bisect_left, insort

PARTS = 64
"""Into how many parts a span is divided: that bounds what is remembered, whatever is counted."""

TICK_S = 0.001
"""How much later than by the book a window opens: the instant itself may be a rounding error short."""

LATEST = 100


class Window:
    """Counts within the last so many seconds, and up to 1/64 more: never less than there were.

    One part remembers a number, not every event, so a busy hour takes no more memory than a quiet one.
    """

    __slots__ = ("_counts", "_newest", "_per_second", "_total", "seconds")

    def __init__(self, seconds: float) -> None:
        """Nothing has happened yet."""
        self.seconds: float = seconds
        self._per_second = PARTS / seconds
        self._counts: list[list[int]] = []  # [part, count], oldest first
        self._newest = [-1, 0]
        self._total = 0

    def add(self, now: float) -> int:
        """Count one more at this instant; the part of the window it is in."""
        part = math.floor(now * self._per_second)
        newest = self._newest
        if newest[0] == part:
            newest[1] += 1
        else:
            self._forget(part)
            self._newest = [part, 1]
            self._counts.append(self._newest)
        self._total += 1
        return part

    def total(self, now: float) -> int:
        """How many there are at this instant."""
        if self._total:
            self._forget(math.floor(now * self._per_second))
        return self._total

    def take_back(self, part: int) -> None:
        """Count one less, as if what was counted in this part had not happened."""
        for counted in reversed(self._counts):
            if counted[0] == part and counted[1]:
                counted[1] -= 1
                self._total -= 1
                return

    def has_room(self, now: float, limit: int) -> bool:
        """Whether there are fewer than `limit` at this instant."""
        # What was counted and not yet forgotten is never less, and mostly little enough.
        return self._total < limit or self.total(now) < limit

    def opens_at(self, now: float, limit: int) -> float:
        """From which instant on there are fewer than `limit`; `now` if there are."""
        too_many = self.total(now) - limit + 1
        if too_many <= 0:
            return now
        for part, count in self._counts:
            too_many -= count
            if too_many <= 0:
                return (part + PARTS + 1) / self._per_second + TICK_S
        return math.inf

    def clear(self) -> None:
        """Forget all."""
        self._counts.clear()
        self._newest = [-1, 0]
        self._total = 0

    def _forget(self, part: int) -> None:
        counts = self._counts
        while counts and counts[0][0] < part - PARTS:
            forgotten = counts.pop(0)
            self._total -= forgotten[1]
            if forgotten is self._newest:
                self._newest = [-1, 0]


class Latency:
    """How long things take: an average in which the latest weigh most, and the p95 of the latest 100."""

    __slots__ = ("_latest", "_oldest", "_sorted", "average")

    WEIGHT = 1 / 8
    """Of the newest value in the average; as for a round-trip time in TCP (RFC 6298 2.3)."""

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self.average: float = 0.0
        self._latest: list[float] = []  # a ring, once it is full
        self._oldest = 0
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take one more."""
        latest = self._latest
        self.average += (seconds - self.average) * (self.WEIGHT if latest else 1)
        if len(latest) < LATEST:
            latest.append(seconds)
        else:
            del self._sorted[bisect_left(self._sorted, latest[self._oldest])]
            latest[self._oldest] = seconds
            self._oldest = (self._oldest + 1) % LATEST
        insort(self._sorted, seconds)

    @property
    def p95(self) -> float:
        """The least that 95 of 100 do not exceed; 0 of none."""
        count = len(self._sorted)
        return self._sorted[-(-count * 95 // 100) - 1] if count else 0.0
