"""One algorithm's run: the real router with the real plugins, from the first message to the last."""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from smtp_router.config.load import Loaded
from smtp_router.config.scenario import Scenario
from smtp_router.core.message import Message
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import Epoch
from smtp_router.routing.journal import Journal
from smtp_router.routing.lease import BooksInMemory
from smtp_router.routing.quotas import Quotas
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import Router
from smtp_router.routing.targets import Targets
from smtp_router.routing.traces import Traces
from smtp_router.simulation.clock import LoopClock
from smtp_router.simulation.complaints import Complaints, listening
from smtp_router.simulation.figures import Figures
from smtp_router.simulation.loop import VirtualLoop
from smtp_router.simulation.outages import OutageWatch, OutageWatches, watches
from smtp_router.simulation.sender import ModelledSender
from smtp_router.simulation.traffic import Arrival, Traffic

TIDY_S = 1.0
"""How often it is seen to the quotas, as in `smtp_router.service`."""
NEWS = 1000
"""After so many messages it is told how far the run is."""

Progress = Callable[[int], None]
"""Is told how many more messages have come."""
Log = Callable[[float, int, str, Mapping[str, object]], None]
"""Takes a line of the router's log: seconds since 1970, level, event, fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all algorithms that are compared have in common.

    Args:
        scenario: how downstreams behave.
        traffic: the mail that comes.
        user: whose mail it is.
        seed: what all chance follows from.
    """

    scenario: Scenario
    traffic: Traffic
    user: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run has come to.

    Args:
        name: of the algorithm.
        downstreams: all names, in the configuration's order.
        ended: the instant of the last reply to a client, in seconds.
        figures: what was counted.
        watches: what was done about outages.
        complaints: what would have been logged beside that.
    """

    name: str
    downstreams: tuple[str, ...]
    ended: float
    figures: Figures
    watches: tuple[OutageWatch, ...]
    complaints: Complaints


def run(
    name: str,
    loaded: Loaded,
    world: World,
    progress: Progress = lambda _: None,
    log: Log | None = None,
) -> Run:
    """Run one algorithm.

    Args:
        name: what it is called.
        loaded: the configuration; its user's algorithm is the one to run.
        world: all else.
        progress: is told how far it is.
        log: takes the lines about attempts and messages; without one, they are only counted.

    Raises:
        ConfigError: a plugin cannot be used.
        RuntimeError: a plugin waits for what cannot come.
    """
    state = random.getstate()
    random.seed(world.seed)  # what plugins draw from there is repeatable, too
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(_run(name, loaded, world, progress, log))
    finally:
        random.setstate(state)


async def _run(name: str, loaded: Loaded, world: World, progress: Progress, log: Log | None) -> Run:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = LoopClock(loop, world.traffic.start)
    complaints = Complaints(clock.now)
    with listening(complaints):
        quotas = Quotas(clock, BooksInMemory())
        registry = Registry(clock, seed=world.seed)
        epochs = LiveEpochs(loaded, registry, shared=Targets(quotas))
        epochs.current = _fixed(epochs.current)
        names = tuple(epochs.current.routes[world.user].targets)
        behaviours = {name: world.scenario.behaviour(name) for name in names}
        watched = [watch for name in names for watch in watches(name, behaviours[name].outages)]
        figures = Figures(clock.now)
        journal = figures if log is None else _Copied(figures, clock, log)
        chance = random.Random(f"chance {world.seed}")  # noqa: S311 - it has to come again
        sender = ModelledSender(behaviours, clock, world.seed, OutageWatches(watched))
        router = Router(
            epochs,
            sender,
            clock,
            chance=chance.random,
            journal=journal,
            traces=Traces(kept=0),  # nobody asks
        )
        tidying = loop.create_task(_tidy(quotas, clock)) if loaded.settings.quotas else None
        await _Feed(loop, router, world.traffic.arrivals(), progress).ended
        ended = clock.now()
        if tidying:
            tidying.cancel()
        await epochs.close()
        await quotas.close()
    return Run(
        name=name,
        downstreams=names,
        ended=ended,
        figures=figures,
        watches=tuple(watched),
        complaints=complaints,
    )


class _Feed:
    """Hands messages to the router as they come."""

    def __init__(
        self, loop: VirtualLoop, router: Router, arrivals: Iterator[Arrival], progress: Progress
    ) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when all have come and are answered."""
        self._loop = loop
        self._router = router
        self._arrivals = arrivals
        self._progress = progress
        self._on_their_way = self._come = 0
        self._coming = next(arrivals, None)
        self._wait()

    def _wait(self) -> None:
        """For the next one."""
        if self._coming is not None:
            self._loop.due(self._coming.at, self._arrive)
        elif not self._on_their_way:
            self._progress(self._come % NEWS)
            self.ended.set_result(None)

    def _arrive(self) -> None:
        assert self._coming is not None
        self._come += 1
        self._on_their_way += 1
        _ = asyncio.Task(self._route(self._coming.message), loop=self._loop)
        if self._come % NEWS == 0:
            self._progress(NEWS)
        try:
            self._coming = next(self._arrivals, None)
        except Exception as error:  # noqa: BLE001 - for whoever waits
            self.ended.set_exception(error)
            return
        if self._coming is not None:
            self._wait()

    async def _route(self, message: Message) -> None:
        try:
            await self._router.route(message)
        except Exception as error:  # noqa: BLE001 - the router's own, which lets none out
            self.ended.set_exception(error)
            return
        self._on_their_way -= 1
        if not self._on_their_way and self._coming is None:
            self._wait()


class _Copied(Journal):
    """A journal whose lines go to a log, too."""

    def __init__(self, first: Journal, clock: LoopClock, log: Log) -> None:
        self._first, self._clock, self._log = first, clock, log

    def writes(self, level: int) -> bool:
        """See `Journal`."""
        return self._first.writes(level)

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """See `Journal`."""
        self._first.write(level, event, fields)
        self._log(self._clock.wall().timestamp(), level, event, fields)


async def _tidy(quotas: Quotas, clock: LoopClock) -> None:
    while True:
        await clock.sleep(TIDY_S)
        await quotas.tidy()


def _fixed(epoch: Epoch) -> Epoch:
    """An epoch that goes by the plugins' files as they are now: an edit would not come again."""
    routes = {user: replace(route, files={}) for user, route in epoch.routes.items()}
    return replace(epoch, routes=MappingProxyType(routes))
