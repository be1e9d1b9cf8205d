"""How fast a downstream is: an average that forgets."""

import math

_KEPT = 7 / 8
"""How much of what was known a new figure leaves at most: about the last eight count."""

_FORGOTTEN = 1 / 16
"""Of a single figure, after four half-lives; of eight, after seven."""

_SHORTEST_S = 0.001
"""What is faster is as good as this."""


class Pace:
    """What deliveries take lately.

    The average is one of logarithms. So 30 s once weigh no more than 0.03 s twice when all others take
    0.1 s: a single outlier moves little mail, and a new pace shows after a few figures, up or down.
    """

    __slots__ = ("_at", "_half_life_s", "_sum", "_weight")

    def __init__(self, half_life_s: float) -> None:
        """Nothing is known yet.

        Args:
            half_life_s: after how many seconds what is known counts half.
        """
        self._half_life_s = half_life_s
        self._at = -math.inf
        self._sum = self._weight = 0.0

    def add(self, seconds: float, now: float) -> None:
        """Count a delivery that took so long and has ended now."""
        kept = min(_KEPT, self._faded(now))
        self._sum = self._sum * kept + math.log(max(seconds, _SHORTEST_S))
        self._weight = self._weight * kept + 1
        self._at = now

    def weight(self, now: float) -> float:
        """How many figures what is known is worth now, 8 at most; 0 when nothing is known any more."""
        weight = self._weight * self._faded(now)
        return weight if weight >= _FORGOTTEN else 0.0

    @property
    def log_s(self) -> float:
        """The logarithm of the average, in seconds; only if anything is known."""
        return self._sum / self._weight

    def _faded(self, now: float) -> float:
        return float(2 ** ((self._at - now) / self._half_life_s))
