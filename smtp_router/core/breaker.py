"""When a downstream rests, and how it comes back: a state machine without a clock.

| state | what happens | next |
|---|---|---|
| closed | a success | closed, the row of failures ends |
| closed | a failure | closed; open if it is one too many, in a row or of those in the window |
| open | a failure: all others rest, too | open |
| open | a success: the same | half-open, two at the same time |
| open | it has rested | half-open, one at a time |
| half-open | a success | half-open, twice as many at the same time; closed from `FULL` on |
| half-open | a failure | open, for twice as long as the last time |

What is the message's own fault is neither. The instants are those of the caller's clock, and so is the
number from 0 to 1 that says how much shorter than the longest a rest is: many routers that saw the same
outage shall not all come back at the same moment.
"""

import math
from dataclasses import dataclass, replace

from smtp_router.core.downstream import HealthState

FULL = 32
"""As many at the same time are no trial any more."""

_MOST_DOUBLINGS = 30  # of any rest in seconds: more than any bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When to rest, and for how long.

    Args:
        failures: so many in a row.
        failure_rate: or such a share, from 0 to 1, of what came within the window.
        min_attempts: the share counts only of so many or more.
        window_s: how far the window reaches back, in seconds.
        rest_s: how long the first rest is at most, in seconds; each further one twice as long.
        max_rest_s: the longest one.
    """

    failures: int = 3
    failure_rate: float = 0.5
    min_attempts: int = 10
    window_s: float = 60
    rest_s: float = 5
    max_rest_s: float = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Where the machine stands.

    Args:
        state: which of the three.
        row: failures since the last success.
        rests: how many rests came since it was last closed.
        until: the instant at which it has rested; of the open state only.
        slots: how many may be under way at the same time; of the half-open state only.
        failed_at: the instant of the last failure.
    """

    state: HealthState = HealthState.CLOSED
    row: int = 0
    rests: int = 0
    until: float = -math.inf
    slots: int = 0
    failed_at: float = -math.inf

    def looked_at(self, now: float) -> "Breaker":
        """How it stands now: who has rested is half-open."""
        if self.state is HealthState.OPEN and now >= self.until:
            return replace(self, state=HealthState.HALF_OPEN, slots=1)
        return self

    def succeeded(self) -> "Breaker":
        """How it stands after a success."""
        if self.state is HealthState.CLOSED:
            return replace(self, row=0) if self.row else self
        slots = 2 * max(self.slots, 1)
        if slots >= FULL:
            return Breaker(failed_at=self.failed_at)
        return replace(self, state=HealthState.HALF_OPEN, row=0, slots=slots)

    def failed(self, now: float, rules: Rules, *, bad: int, total: int, chance: float) -> "Breaker":
        """How it stands after a failure.

        Args:
            now: the present instant.
            rules: when to rest.
            bad: failures within the window, this one among them.
            total: these and the successes.
            chance: from 0 to 1, by how much half of the rest is shortened.
        """
        failed = replace(self, row=self.row + 1, failed_at=now)
        if self.state is HealthState.OPEN:
            return failed
        if self.state is HealthState.CLOSED and not (
            failed.row >= rules.failures
            or (total >= rules.min_attempts and bad >= rules.failure_rate * total)
        ):
            return failed
        longest = min(rules.rest_s * 2.0 ** min(self.rests, _MOST_DOUBLINGS), rules.max_rest_s)
        return replace(
            failed,
            state=HealthState.OPEN,
            rests=self.rests + 1,
            until=now + longest * (1 - chance / 2),
            slots=0,
        )
