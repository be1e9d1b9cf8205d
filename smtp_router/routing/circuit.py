"""A breaker with what is under way: which attempts it lets through, and which of them count.

Only an attempt that began since the last rest began says how a downstream is now. One that hung for half
a minute says how it was, and would send it to rest again as it comes back.
"""

from collections.abc import Callable
from typing import NamedTuple

from smtp_router.core.breaker import Breaker, Rules
from smtp_router.core.downstream import HealthState
from smtp_router.core.window import Window


class Entry(NamedTuple):
    """How an attempt went in."""

    rests: int
    """How many rests there had been by then."""
    is_trial: bool
    """Whether it takes one of the half-open state's slots."""


_FIRST = Entry(rests=0, is_trial=False)
_CLOSED = Breaker()
_IS_CLOSED = HealthState.CLOSED  # found once: a member of an enumeration takes long to find


class Circuit:
    """One breaker at work."""

    __slots__ = (
        "__weakref__",
        "_bad",
        "_breaker",
        "_trials",
        "because",
        "entry",
        "is_calm",
        "successes",
    )

    def __init__(self, window_s: float) -> None:
        """Closed, and nothing is under way."""
        self.breaker = _CLOSED
        self.because = ""
        """What its last rest began with."""
        self.successes = Window(window_s)
        self._bad = Window(window_s)
        self.entry = _FIRST
        """How an attempt goes in that is no trial."""
        self._trials = 0

    @property
    def breaker(self) -> Breaker:
        """Where the machine stands."""
        return self._breaker

    @breaker.setter
    def breaker(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self.is_calm: bool = breaker.state is _IS_CLOSED and not breaker.row
        """Whether one more success changes nothing, as nearly always."""

    def is_resting(self, now: float) -> bool:
        """Whether there is no room for one more attempt."""
        if self.breaker.state is HealthState.CLOSED:
            return False
        breaker = self.breaker.looked_at(now)
        return breaker.state is HealthState.OPEN or self._trials >= breaker.slots

    def enter(self, now: float) -> Entry:
        """Begin an attempt, which it may be even if it is resting: all others may be, too."""
        if self.breaker.state is not HealthState.CLOSED:
            self.breaker = self.breaker.looked_at(now)
            if self.breaker.state is HealthState.HALF_OPEN:
                self._trials += 1
                return self.entry._replace(is_trial=True)
        return self.entry

    def hear(self, until: float, rests: int, because: str, now: float) -> bool:
        """Rest as long as a neighbour does who has found it down; whether that is news.

        Args:
            until: the instant at which it has rested.
            rests: how many came since it was last closed, as the neighbour has counted.
            because: what it began with.
            now: the present instant.
        """
        before = self.breaker.looked_at(now)
        if now >= until or (before.state is HealthState.OPEN and before.until >= until):
            return False
        self.because = because
        self.breaker = Breaker(
            state=HealthState.OPEN,
            row=before.row,
            rests=max(before.rests, rests),
            until=until,
            failed_at=now,
        )
        self.entry = Entry(rests=self.entry.rests + 1, is_trial=False)
        self._trials = 0
        return True

    def good(self, now: float) -> int:
        """How many successes there were within the window."""
        return self.successes.total(now)

    def leave(self, entry: Entry) -> None:
        """End an attempt, when it is said what became of it, if anything."""
        if entry.is_trial and entry.rests == self.entry.rests:
            self._trials -= 1

    def succeeded(self, entry: Entry, now: float) -> bool:
        """Count a success; whether it is the first one after a rest."""
        self.successes.add(now)
        if self.is_calm or entry.rests != self.entry.rests:
            return False
        before = self.breaker
        self.breaker = before.succeeded()
        if before.state is HealthState.CLOSED:
            return False
        if self.breaker.state is HealthState.CLOSED:
            self._bad.clear()
        return before.slots <= 1

    def failed(self, entry: Entry, now: float, rules: Rules, chance: Callable[[], float]) -> bool:
        """Count a failure; whether a rest begins with it."""
        if entry.rests != self.entry.rests:
            return False
        if rules.window_s != self._bad.seconds:
            self.successes, self._bad = Window(rules.window_s), Window(rules.window_s)
        self._bad.add(now)
        bad = self._bad.total(now)
        total = bad + self.successes.total(now)
        before = self.breaker
        self.breaker = before.failed(now, rules, bad=bad, total=total, chance=chance())
        if self.breaker.rests == before.rests:
            return False
        self.entry = Entry(rests=entry.rests + 1, is_trial=False)
        self._trials = 0
        return True
