"""What happened lately: how often within a span of time, and how long it took."""

import math
from collections.abc import Sequence

PARTS = 64
"""Into how many parts a span is divided: that bounds what is remembered, whatever is counted."""

TICK_S = 0.001
"""How much later than by the book a window opens: the instant itself may be a rounding error short."""

LATEST = 100
_MOST = LATEST + 25
"""So many values are kept, that they need not be moved at each."""

WEIGHT = 1 / 8
"""Of the newest value in the average; as for a round-trip time in TCP (RFC 6298 2.3)."""


class Window:
    """Counts within the last so many seconds, and up to 1/64 more: never less than there were.

    One part remembers a number, not every event, so a busy hour takes no more memory than a quiet one.
    """

    __slots__ = ("_before", "_older", "_part", "_per_second", "ends", "newest", "seconds")

    def __init__(self, seconds: float) -> None:
        """Nothing has happened yet."""
        self.seconds: float = seconds
        self._per_second = PARTS / seconds
        self._part = 0
        """The newest one in which anything was counted."""
        self.ends: float = -math.inf
        """Before this instant it has not ended."""
        self.newest: int = 0
        """So many are in it."""
        self._older: list[list[int]] = []  # [part, count], oldest first
        self._before = 0
        """So many are in those."""

    def add(self, now: float) -> None:
        """Count one more at this instant.

        Who counts each message does these three lines in place: to be called takes longer than they do.
        """
        if now >= self.ends:
            self.begin(now)
        self.newest += 1

    def total(self, now: float) -> int:
        """How many there are at this instant."""
        count = self._before + self.newest
        if not count or now < self.ends:
            return count
        self._forget(math.floor(now * self._per_second))
        return self._before + self.newest

    def take_back(self, then: float) -> None:
        """Count one less, as if one of those that were counted at this instant had not happened."""
        part = math.floor(then * self._per_second)
        if part == self._part:
            self.newest -= self.newest > 0
            return
        for counted in reversed(self._older):
            if counted[0] == part and counted[1]:
                counted[1] -= 1
                self._before -= 1
                return

    def opens_at(self, now: float, limit: int) -> float:
        """From which instant on there are fewer than `limit`; `now` if there are."""
        too_many = self.total(now) - limit + 1
        if too_many <= 0:
            return now
        for part, count in (*self._older, (self._part, self.newest)):
            too_many -= count
            if too_many <= 0:
                return (part + PARTS + 1) / self._per_second + TICK_S
        return math.inf

    def clear(self) -> None:
        """Forget all."""
        self._older.clear()
        self._before = self.newest = 0

    def begin(self, now: float) -> None:
        """Count in the part of this instant from now on."""
        part = math.floor(now * self._per_second)
        if part == self._part and self.ends > -math.inf:
            return  # its last instants, see below
        if self.newest:
            self._older.append([self._part, self.newest])
            self._before += self.newest
            self.newest = 0
        self._part = part
        self._forget(part)
        # Rounded twice, the end is off by two steps at most: before this it has not come for sure.
        end = (part + 1) / self._per_second
        self.ends = math.nextafter(math.nextafter(end, -math.inf), -math.inf)

    def _forget(self, part: int) -> None:
        older, oldest = self._older, part - PARTS
        while older and older[0][0] < oldest:
            self._before -= older.pop(0)[1]
        if self._part < oldest:
            self.newest = 0


Timed = tuple[Sequence[float], int]
"""How long things took, and how many of these values there were when somebody was told of them."""


class Latency:
    """How long things take: an average in which the latest weigh most, and the p95 of the latest 100.

    Values are added behind those that there are, which stay where they are: so whoever keeps `values`,
    and how many there were, finds the p95 of that moment when they look (see `p95`). To keep the values
    in order would take 0.7 us for each, and hardly anybody looks.
    """

    __slots__ = ("average", "values")

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self.average: float = 0.0
        self.values: list[float] = []
        """The latest, and some before them."""

    def add(self, seconds: float) -> None:
        """Take one more."""
        values = self.values
        if len(values) >= _MOST:
            self.values = values = values[-LATEST:]
        self.average += (seconds - self.average) * (WEIGHT if values else 1)
        values.append(seconds)


def p95(timed: Timed) -> float:
    """The least that 95 of 100 do not exceed; 0 of none."""
    values, count = timed
    in_order = sorted(values[max(count - LATEST, 0) : count])
    return in_order[-(-len(in_order) * 95 // 100) - 1] if in_order else 0.0
