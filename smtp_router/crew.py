"""Who else takes mail on this machine: nobody, or the other workers of a crew.

With one process all is counted in that process. In a crew what has to hold for the whole machine is
counted together, and what one finds out it tells the others. What can be neither is divided:
connections to downstreams, of which each worker may have its part.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from smtp_router.config.crew_size import indivisible
from smtp_router.config.load import Loaded
from smtp_router.config.pool import PoolLimits
from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.core.errors import Problem
from smtp_router.routing.health import Change
from smtp_router.routing.news import news_of
from smtp_router.routing.policy import Turns
from smtp_router.routing.quotas import Quotas
from smtp_router.routing.reload import Agree
from smtp_router.routing.shared_limits import SharedTurns
from smtp_router.routing.target import Target
from smtp_router.routing.targets import Targets
from smtp_router.shared.together import Together
from smtp_router.smtp.guard import Guard
from smtp_router.smtp.shared_guard import SharedGuard

News = Mapping[str, Any]
"""What workers tell each other, as JSON has it."""


class Fellows(Protocol):
    """What the service needs to know of the others."""

    @property
    def is_alone(self) -> bool:
        """Whether there are none."""
        ...

    @property
    def agree(self) -> Agree | None:
        """Has all of them take up the next epoch, or none."""
        ...

    @property
    def doubt(self) -> Callable[[News], None] | None:
        """Tells them what `Doubts` has to say."""
        ...

    def sockets(self, listener: int) -> Sequence[socket.socket]:
        """What the listener of this number listens on; empty: it opens that itself."""
        ...

    def targets(self, quotas: Quotas) -> Targets:
        """Makes targets, with limits and rests."""
        ...

    def turns(self, clock: Clock) -> Turns:
        """Counts how often users send."""
        ...

    def guard(self, settings: Settings, clock: Clock, max_files: int) -> Guard:
        """Counts what clients do."""
        ...

    def part(self, limits: PoolLimits) -> PoolLimits:
        """What of a pool's limits is for this process."""
        ...

    def check(self, loaded: Loaded) -> Sequence[Problem]:
        """What in a configuration cannot be divided."""
        ...


class Alone:
    """Nobody else."""

    is_alone = True
    agree: Agree | None = None
    doubt: Callable[[News], None] | None = None

    def sockets(self, listener: int) -> Sequence[socket.socket]:
        """See `Fellows`."""
        del listener
        return ()

    def targets(self, quotas: Quotas) -> Targets:
        """See `Fellows`."""
        return Targets(quotas)

    def turns(self, clock: Clock) -> Turns:
        """See `Fellows`."""
        return Turns(clock)

    def guard(self, settings: Settings, clock: Clock, max_files: int) -> Guard:
        """See `Fellows`."""
        return Guard(settings, clock, max_files=max_files)

    def part(self, limits: PoolLimits) -> PoolLimits:
        """See `Fellows`."""
        return limits

    def check(self, loaded: Loaded) -> Sequence[Problem]:
        """See `Fellows`."""
        del loaded
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The crew of a machine, as one worker of it sees it.

    Args:
        worker: which one this is, from 0 on.
        workers: how many there are.
        together: what they count together.
        listening: what each listener listens on.
        tell: tells the others.
        agree: see `Fellows`.
    """

    worker: int
    workers: int
    together: Together
    listening: Sequence[Sequence[socket.socket]]
    tell: Callable[[News], None]
    agree: Agree | None

    @property
    def is_alone(self) -> bool:
        """See `Fellows`: here the parent answers for all."""
        return False

    @property
    def doubt(self) -> Callable[[News], None]:
        """See `Fellows`."""
        return lambda news: self.tell({"doubts": news})

    def sockets(self, listener: int) -> Sequence[socket.socket]:
        """See `Fellows`."""
        return self.listening[listener]

    def targets(self, quotas: Quotas) -> Targets:
        """See `Fellows`."""
        return Targets(quotas, names=self.together.names, news=self._spread)

    def turns(self, clock: Clock) -> Turns:
        """See `Fellows`."""
        return SharedTurns(clock, self.together.names)

    def guard(self, settings: Settings, clock: Clock, max_files: int) -> Guard:
        """See `Fellows`."""
        return SharedGuard(
            settings, clock, max_files=max_files, together=self.together, workers=self.workers
        )

    def part(self, limits: PoolLimits) -> PoolLimits:
        """See `Fellows`: an equal part, and one more for the first ones where that does not work out."""
        each, left = divmod(limits.max_connections, self.workers)
        return replace(limits, max_connections=each + (self.worker < left))

    def check(self, loaded: Loaded) -> Sequence[Problem]:
        """See `Fellows`."""
        return indivisible(loaded, self.workers)

    def _spread(self, target: Target, change: Change) -> None:
        news = news_of(target, change)
        if news is not None:
            self.tell({"rest": news})
