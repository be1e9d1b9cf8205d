"""Does what a `Pool` decides: opens, lends, keeps, closes."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from smtp_router.config.pool import PoolLimits
from smtp_router.config.settings import Downstream, Timeouts
from smtp_router.core.outcome import Deferred, Outcome, Stage
from smtp_router.errand import aside, in_task
from smtp_router.smtp.alarm import Alarm
from smtp_router.smtp.channel import Channel
from smtp_router.smtp.client_tls import ClientContexts
from smtp_router.smtp.opening import Opening
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.pool import Grant, Pool, Slot
from smtp_router.smtp.verdict import AttemptEnded
from smtp_router.tokens.tokens import Tokens

GRAIN_S = 0.5
"""Between two looks at idle connections, which may grow older by so much."""

Turn = asyncio.Future[Slot[Channel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all keepers of a router share.

    Args:
        loop: the event loop.
        alarm: looks after limits of time.
        tokens: for logins.
        outbox: writes what fits into one write.
        part: what of a pool's limits is for this process.
        contexts: for TLS.
        channels: the register of all connections that are ready, busy, or being closed.
    """

    loop: asyncio.AbstractEventLoop
    alarm: Alarm
    tokens: Tokens
    outbox: Outbox
    part: Callable[[PoolLimits], PoolLimits] = lambda limits: limits
    contexts: ClientContexts = field(default_factory=ClientContexts)
    channels: set[Channel] = field(default_factory=set)


class Keeper:
    """The connections to one downstream with one login."""

    def __init__(
        self, downstream: Downstream, hostname: str, house: House, make_room: Callable[[], None]
    ) -> None:
        """Nothing is open yet.

        Args:
            downstream: where to, as whom, and how many at a time.
            hostname: what to say in EHLO.
            house: what is shared.
            make_room: called before a connection is opened.
        """
        self._limits = house.part(downstream.pool)
        self._hostname = hostname
        self._house = house
        self._make_room = make_room
        self._alarm = house.alarm
        self.now = house.loop.time
        """The present instant, by the event loop's clock."""
        self._slots: dict[Channel, Slot[Channel]] = {}
        login = f" as {downstream.user}" if downstream.user is not None else ""
        self.pool: Pool[Channel, Turn] = Pool(f"{downstream.addr}{login}", self._limits)
        shortest_s = min(self._limits.idle_s, self._limits.max_connection_age_s)
        house.alarm.every(max(shortest_s, GRAIN_S))

    async def lend(
        self, downstream: Downstream, timeouts: Timeouts, until: float, *, fresh: bool = False
    ) -> Channel:
        """A connection that is ready for mail.

        Args:
            downstream: as this message's user has it; the same in all that matters to a connection.
            timeouts: per stage, in seconds.
            until: the instant that it may take at most.
            fresh: not one that was used before.

        Raises:
            AttemptEnded: with why there is none.
        """
        while True:
            slot, close = self.pool.take(self.now(), fresh=fresh)
            if close:
                self._quit(close)
            if slot is None:
                slot = await self._turn(until, first=fresh)
            if slot.connection is None:
                return await self._open(slot, downstream, timeouts, until)
            if slot.connection in self._slots:  # or it was lost on the way here
                return slot.connection

    def is_used(self, channel: Channel) -> bool:
        """Whether a connection that is lent had been lent before."""
        return self._slots[channel].messages > 1

    def retire(self) -> None:
        """Keep nothing from now on."""
        self._quit(self.pool.retire())
        self._alarm.forget(self)

    def evict(self) -> None:
        """Close what has been idle for longest."""
        self._quit(self.pool.evict())

    def check(self, now: float) -> float:
        """Close what is idle for too long (see `Alarm`)."""
        self._quit(self.pool.expire(now))
        if not self._slots:
            self._alarm.forget(self)
        return max(self.pool.next_expiry(now), now + GRAIN_S)

    # What a channel tells (see `smtp_router.smtp.channel.Owner`)

    def ready(self, channel: Channel) -> None:
        """A connection can be used again."""
        grant, close = self.pool.give_back(self._slots[channel], self.now())
        if close:
            self._quit(close)
        if grant is not None:
            self._grant(grant)

    def gone(self, channel: Channel) -> None:
        """A connection cannot be used any more."""
        slot = self._slots.pop(channel, None)
        if slot is not None:
            self._drop(slot)

    def _grant(self, grant: Grant[Channel, Turn] | None) -> None:
        """Tell whoever's turn it is; one who has just left is passed over."""
        if grant is None:
            return
        if not grant.waiter.done():
            grant.waiter.set_result(grant.slot)
        else:
            self._pass_on(grant.slot)

    def _pass_on(self, slot: Slot[Channel]) -> None:
        if slot.connection is None:
            self._drop(slot)
        elif slot.connection in self._slots:
            self.ready(slot.connection)

    def _drop(self, slot: Slot[Channel]) -> None:
        self._grant(self.pool.drop(slot, self.now()))

    def _quit(self, channels: Iterable[Channel]) -> None:
        for channel in channels:
            self._slots.pop(channel, None)
            channel.quit()

    async def _turn(self, until: float, *, first: bool) -> Slot[Channel]:
        """Wait in line.

        Raises:
            AttemptEnded: for too long, or for nothing.
        """
        turn: Turn = self._house.loop.create_future()
        self.pool.wait(turn, first=first)
        try:
            await in_task()
            async with asyncio.timeout_at(until):
                return await turn
        except BaseException as error:
            self.pool.leave(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())
            if not isinstance(error, TimeoutError):
                raise
            reason = f"no connection became free: max_connections is {self._limits.max_connections}"
            raise AttemptEnded(Deferred(stage=Stage.CONNECT, reason=reason)) from error

    async def _open(
        self, slot: Slot[Channel], downstream: Downstream, timeouts: Timeouts, until: float
    ) -> Channel:
        opening = Opening(downstream, timeouts, self._hostname, until)
        try:
            self._make_room()
            house = self._house
            await aside(house.loop, opening.open(house.contexts, house.tokens))
        except BaseException as error:
            if opening.in_step:
                self._channel(opening).quit()
            else:
                opening.abort()
            if isinstance(error, AttemptEnded) and self.now() < until:
                self._turn_away(error.outcome)
            self._drop(slot)
            raise
        channel = slot.connection = self._channel(opening)
        self._slots[channel] = slot
        if not self.pool.is_retired:
            self._alarm.watch(self)
        return channel

    def _turn_away(self, outcome: Outcome) -> None:
        """Tell those in line that nobody answers there, if no connection shows otherwise.

        Each of them would find out for itself, one after the other. What a reply means is up to the
        rules of whose message it is, so that is left to them.
        """
        if outcome.reply is None and not self._slots:
            for turn in self.pool.turn_away():
                if not turn.done():
                    turn.set_exception(AttemptEnded(outcome))

    def _channel(self, opening: Opening) -> Channel:
        house = self._house
        channel = Channel(opening.peer, self, house.alarm, house.channels, house.outbox)
        channel.take_over(opening.transport)
        return channel
