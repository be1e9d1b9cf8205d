"""A clock that a test sets."""

import asyncio
import threading
from datetime import datetime, timedelta

from smtp_router.testing.values import EPOCH

START_S = 1000.0


class VirtualClock:
    """Time that moves only when it is told to: the `Clock` of plugins, for their tests.

    It may be moved from any thread; who sleeps wakes up on the event loop that it sleeps on.

    Args:
        start: the first instant, in seconds.
        wall: what people call it, with a time zone.
    """

    def __init__(self, start: float = START_S, wall: datetime = EPOCH) -> None:
        self._start = self._now = start
        self._wall = wall
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self.wall_is_off_s: float = 0.0
        """By how much somebody has set the wall clock forth (or back)."""

    def now(self) -> float:
        """The present instant, in seconds."""
        return self._now

    def wall(self) -> datetime:
        """The present, as people call it."""
        return self._wall + timedelta(seconds=self._now - self._start + self.wall_is_off_s)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved so far."""
        sleeper = asyncio.get_running_loop().create_future()
        with self._lock:
            self._sleepers.append((self._now + seconds, sleeper))
        self.advance(0)
        await sleeper

    def advance(self, seconds: float) -> None:
        """Move on, and wake all whose time has come.

        They go on when the event loop has its next turn. One that then sleeps again, sleeps from this
        instant on.
        """
        with self._lock:
            self._now += seconds
            due = [sleeper for end, sleeper in self._sleepers if end <= self._now]
            self._sleepers = [
                (end, sleeper)
                for end, sleeper in self._sleepers
                if end > self._now and not sleeper.done()
            ]
        for sleeper in due:
            _wake(sleeper)

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return sum(not sleeper.done() for _, sleeper in self._sleepers)


def _wake(sleeper: asyncio.Future[None]) -> None:
    def wake() -> None:
        if not sleeper.done():  # its task may have been cancelled
            sleeper.set_result(None)

    loop = sleeper.get_loop()
    if loop is _running_loop():
        wake()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(wake)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
