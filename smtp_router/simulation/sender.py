"""The sender of a simulation: who connects where, and waits how long, is as in `smtp_router.smtp`.

Which connection a message goes over is decided by the very pool that decides it there; what happens over
it, by the `Server`. A connection is a number.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Protocol

from smtp_router.config.behaviour import Behaviour
from smtp_router.config.settings import Downstream, Settings, Timeouts
from smtp_router.core.message import Message
from smtp_router.core.outcome import Deferred, Outcome, Stage
from smtp_router.core.reply import Reply
from smtp_router.simulation.clock import LoopClock
from smtp_router.simulation.luck import Lottery, Luck
from smtp_router.simulation.server import Limit, Server
from smtp_router.smtp.pool import Pool, Slot
from smtp_router.smtp.verdict import AttemptEnded, verdict

Turn = asyncio.Future[Slot[int]]


class Watcher(Protocol):
    """Is told of all attempts."""

    def begins(self, downstream: str, now: float) -> None:
        """A message is brought to a downstream."""
        ...

    def ended(self, downstream: str, outcome: Outcome, began: float, now: float) -> None:
        """What became of it."""
        ...


class ModelledSender:
    """See `smtp_router.routing.ports.Sender`."""

    def __init__(
        self, behaviours: Mapping[str, Behaviour], clock: LoopClock, seed: int, watcher: Watcher
    ) -> None:
        """Nothing is open.

        Args:
            behaviours: of all downstreams, by name.
            clock: virtual time.
            seed: what luck follows from.
            watcher: is told of all attempts.
        """
        self._behaviours = behaviours
        self._clock = clock
        self._seed = seed
        self._watcher = watcher
        self._lines: dict[str, _Line] = {}
        self._timeouts: Timeouts | None = None
        self._shortest_s = 0.0

    async def send(
        self,
        message: Message,
        downstream: Downstream,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None],
    ) -> Outcome:
        """Find out what would become of it, in the time that it would take."""
        name = downstream.name
        line = self._lines.get(name)
        if line is None:
            behaviour = self._behaviours[name]
            line = self._lines[name] = _Line(downstream, behaviour, self._clock, self._seed)
        if settings.timeouts is not self._timeouts:
            self._timeouts = settings.timeouts
            self._shortest_s = min(astuple(self._timeouts))
        began = self._clock.now()
        self._watcher.begins(name, began)
        limit = Limit(settings.timeouts, self._shortest_s, until, deadline)
        try:
            outcome = await line.bring(message, limit)
        except AttemptEnded as ended:
            outcome = ended.outcome
        if outcome.stage is Stage.FINAL:
            on_final()
        self._watcher.ended(name, outcome, began, self._clock.now())
        return outcome


class _Line:
    """The connections to one downstream."""

    def __init__(
        self, downstream: Downstream, behaviour: Behaviour, clock: LoopClock, seed: int
    ) -> None:
        rules = downstream.rules

        def meaning(stage: Stage, reply: Reply) -> Outcome:
            text = f"{reply.enhanced} {reply.text}".strip()
            outcome = verdict(stage, reply.code, text, rules, clock.wall())
            assert outcome is not None  # a refusal is one
            return outcome

        self._server = Server(behaviour, meaning)
        self._lottery = Lottery(seed, downstream.name)
        self._clock = clock
        self._most = downstream.pool.max_connections
        self._pool: Pool[int, Turn] = Pool(downstream.name, downstream.pool)
        self._numbers = itertools.count(1)
        self._opening = self._open = 0

    async def bring(self, message: Message, limit: Limit) -> Outcome:
        """Bring a message there.

        Raises:
            AttemptEnded: there is no connection, and why.
        """
        luck = self._lottery.draw(message.id)
        fresh = False
        while True:
            slot = self._take(fresh=fresh) or await self._turn(limit.until, first=fresh)
            if slot.connection is None:
                await self._connect(slot, luck, limit)
            kept = slot.messages > 1
            course = self._server.transact(self._clock.now(), luck, limit, message, kept=kept)
            try:
                await self._clock.pause(course.seconds)
            finally:
                self._release(slot, stays=course.stays)
            if course.outcome is not None:
                return course.outcome
            fresh = True

    def _take(self, *, fresh: bool) -> Slot[int] | None:
        """A connection, or room for one, if there is any."""
        now = self._clock.now()
        self._server.look(now)
        while True:
            slot, closed = self._pool.take(now, fresh=fresh)
            self._open -= len(closed)
            if slot is None or slot.connection is None or slot.opened_at >= self._server.lost_at:
                return slot
            self._drop(slot)  # it was lost while it was idle

    async def _turn(self, until: float, *, first: bool) -> Slot[int]:
        """Wait in line."""
        turn: Turn = asyncio.get_running_loop().create_future()
        self._pool.wait(turn, first=first)
        try:
            async with asyncio.timeout_at(until):
                return await turn
        except BaseException as error:
            self._pool.leave(turn)
            if not isinstance(error, TimeoutError):
                raise
            reason = f"no connection became free: max_connections is {self._most}"
            raise AttemptEnded(Deferred(stage=Stage.CONNECT, reason=reason)) from error

    async def _connect(self, slot: Slot[int], luck: Luck, limit: Limit) -> None:
        course = self._server.open(self._clock.now(), luck, limit, self._open + self._opening)
        self._opening += 1
        try:
            await self._clock.pause(course.seconds)
        finally:
            self._opening -= 1
        if course.outcome is None:
            slot.connection = next(self._numbers)
            self._open += 1
            return
        if course.outcome.reply is None and not self._open and self._clock.now() < limit.until:
            for turn in self._pool.turn_away():  # nobody answers there: see `smtp_router.smtp.keeper`
                turn.set_exception(AttemptEnded(course.outcome))
        self._drop(slot)
        raise AttemptEnded(course.outcome)

    def _release(self, slot: Slot[int], *, stays: bool) -> None:
        """A transaction is over."""
        if not stays:
            self._drop(slot)
            return
        grant, closed = self._pool.give_back(slot, self._clock.now())
        self._open -= len(closed)
        if grant is not None:
            grant.waiter.set_result(grant.slot)

    def _drop(self, slot: Slot[int]) -> None:
        self._open -= slot.connection is not None
        grant = self._pool.drop(slot, self._clock.now())
        if grant is not None:
            grant.waiter.set_result(grant.slot)
