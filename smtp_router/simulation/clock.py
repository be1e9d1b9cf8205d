"""The clock of a simulation, which plugins and the router share."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from datetime import UTC, datetime, timedelta

from smtp_router.simulation.loop import VirtualLoop

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""A Monday morning, always the same one: so a run can be repeated."""


class LoopClock:
    """Goes by a virtual event loop."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        """It is `start` at the loop's instant 0."""
        self.now: Callable[[], float] = loop.time
        """The present instant in seconds."""
        self._loop = loop
        self._start = start

    def wall(self) -> datetime:
        """The present, in UTC."""
        return self._start + timedelta(seconds=self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait so long, which takes no time."""
        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> "Pause":
        """The same for a coroutine that does nothing but await it at once, in a third of the time."""
        return Pause(self._loop, self.now() + seconds)


class Pause:
    """A task that awaits this goes on at an instant: its next step is the timer's callback itself.

    It has what a task asks of a future (`_asyncio_future_blocking` is how it tells one), and no more.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_go_on", "_is_cancelled", "_loop", "_when")

    def __init__(self, loop: VirtualLoop, when: float) -> None:
        """Nobody waits yet."""
        self._loop = loop
        self._when = when
        self._is_cancelled = False

    def __await__(self) -> Generator["Pause", None, None]:
        """Wait."""
        self._asyncio_future_blocking = True
        yield self
        if self._is_cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> VirtualLoop:
        """Its event loop."""
        return self._loop

    def add_done_callback(self, go_on: Callable[["Pause"], object], *, context: Context) -> None:
        """Be told how to go on."""
        self._go_on, self._context = go_on, context
        self._loop.due(self._when, self._end)

    def result(self) -> None:
        """Nothing comes of it."""

    def cancel(self, msg: object = None) -> bool:
        """Go on at once, in order to end."""
        del msg
        if not self._is_cancelled:
            self._is_cancelled = True
            self._loop.call_soon(self._go_on, self, context=self._context)
        return True

    def _end(self) -> None:
        if not self._is_cancelled:
            self._context.run(self._go_on, self)
