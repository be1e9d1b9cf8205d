"""Messages that wait for room, when all downstreams left for them have reached their limits.

Those of one user with the same downstreams left stand in line. Only the first one watches, so a long
line costs no more than a short one when there is room again.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence

from smtp_router.core.clock import Clock
from smtp_router.core.outcome import Attempt
from smtp_router.routing.epoch import Route
from smtp_router.routing.target import Target

_Key = tuple[str, frozenset[str]]


class WaitingLines:
    """All lines of the router."""

    def __init__(self, clock: Clock) -> None:
        """Nobody waits."""
        self._clock = clock
        self.lines: dict[_Key, deque[asyncio.Event]] = {}
        """Those in which anybody waits."""

    def has(self, route: Route, attempts: Sequence[Attempt]) -> bool:
        """Whether others wait for the same."""
        return _key(route, attempts) in self.lines

    async def wait(self, route: Route, attempts: Sequence[Attempt], deadline: float) -> bool:
        """Wait until there is room, for as long as the limits allow.

        Args:
            route: the user's.
            attempts: those of this message so far.
            deadline: the instant at which to give up in any case.

        Returns:
            Whether there is; `False` if there will not be in time.
        """
        left = [target for target in route.left(attempts) if target.limits.wait_s is not None]
        meters = [target.meter for target in left if target.meter is not None]
        if not left:
            return False
        again_s = min([meter.again_s for meter in meters], default=math.inf)
        key, woken = _key(route, attempts), asyncio.Event()
        line = self.lines.setdefault(key, deque())
        line.append(woken)
        since, is_first = self._clock.now(), False
        try:
            while True:
                woken.clear()
                now = self._clock.now()
                opens, until = _outlook(left, since, now)
                if not is_first and line[0] is woken:
                    is_first = True
                    for meter in meters:
                        meter.wait(woken)
                if is_first and opens <= now:
                    return True
                if now >= min(until, deadline):
                    return False
                wakes = min(until, deadline, min(opens, now + again_s) if is_first else math.inf)
                await self._sleep(wakes - now, woken)
        finally:
            if is_first:
                for meter in meters:
                    meter.give_up(woken)
            line.remove(woken)
            if line:
                line[0].set()
            else:
                del self.lines[key]

    async def _sleep(self, seconds: float, woken: asyncio.Event) -> None:
        tasks = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(woken.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _outlook(left: Sequence[Target], since: float, now: float) -> tuple[float, float]:
    """From which instant on there may be room, and until when it is worth waiting for."""
    opens, until = math.inf, -math.inf
    for target in left:
        room_at = target.opens_at(now)
        end = since + (target.limits.wait_s or 0)
        if room_at <= end or (room_at == math.inf and now < end):
            opens, until = min(opens, room_at), max(until, end)
    return opens, until


def _key(route: Route, attempts: Sequence[Attempt]) -> _Key:
    return route.user.email, frozenset(attempt.downstream.name for attempt in attempts)
