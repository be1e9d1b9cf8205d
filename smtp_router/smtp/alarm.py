"""One timer for everything that must not take too long.

A timer for each command would cost more than the command. Here whoever has a limit keeps it as a number,
which changes for free; the one timer looks at all of them when the earliest it was told of is reached,
and as often as the shortest limit is long: so it need not be told of limits that are no shorter.
"""

import asyncio
import math
from typing import Protocol

LEAST_S = 0.02
"""Between two looks; so late may a limit be noticed."""


class Timed(Protocol):
    """Something with a limit of time."""

    def check(self, now: float) -> float:
        """Do what is due at this instant; when to look again, or `math.inf`."""
        ...


class Alarm:
    """Looks at what is timed, in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is due."""
        self._loop = loop
        self._timed: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._every = math.inf
        self.at = math.inf
        """When it will look next."""

    def every(self, seconds: float) -> None:
        """Look at least so often; so whatever has a limit as long as this need not call `by` for it."""
        self._every = min(self._every, seconds)
        if self._timed:
            self.by(self._loop.time() + seconds)

    def watch(self, timed: Timed) -> None:
        """Look at this, too, from now on."""
        self._timed.add(timed)
        self.by(self._loop.time() + self._every)

    def forget(self, timed: Timed) -> None:
        """Do not look at this any more."""
        self._timed.discard(timed)
        if not self._timed:
            self._set(math.inf)

    def by(self, when: float) -> None:
        """Look at this instant (of the event loop's clock) at the latest."""
        if when < self.at:
            self._set(when)

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.at = when
        self._timer = None if when == math.inf else self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer, self.at = None, math.inf
        now = self._loop.time()
        soonest = min([timed.check(now) for timed in tuple(self._timed)], default=math.inf)
        if self._timed:
            self.by(max(min(soonest, now + self._every), now + LEAST_S))
