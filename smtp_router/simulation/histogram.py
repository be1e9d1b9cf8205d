"""How long things took, in as much memory for a million of them as for a hundred.

A value is kept as the number of its bin; each bin is two percent wider than the one before it, so a
quantile is right to one percent.
"""

import math
from collections import Counter
from collections.abc import Iterable

_BINS_PER_E = 50
_LEAST_S = 1e-6
"""What is shorter counts as this."""


class Histogram:
    """Seconds, counted."""

    __slots__ = ("bins", "count", "most", "total")

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.bins: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.bins[math.floor(math.log(seconds + _LEAST_S) * _BINS_PER_E)] += 1
        self.count += 1
        self.total += seconds
        if seconds > self.most:  # noqa: PLR1730 - a call would cost as much as all of this
            self.most = seconds

    def take_in(self, others: Iterable["Histogram"]) -> "Histogram":
        """Count all of these, too; returns this."""
        for other in others:
            self.bins.update(other.bins)
            self.count += other.count
            self.total += other.total
            self.most = max(self.most, other.most)
        return self

    @property
    def mean(self) -> float:
        """The average; 0 of none."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, part: float) -> float:
        """The least that this part of them, from 0 to 1, does not exceed; 0 of none."""
        wanted = math.ceil(part * self.count)
        for number in sorted(self.bins):
            wanted -= self.bins[number]
            if wanted <= 0:
                middle = math.exp((number + 0.5) / _BINS_PER_E) - _LEAST_S
                return min(max(middle, 0.0), self.most)
        return 0.0
