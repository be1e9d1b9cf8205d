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
        return Pause(self._loop, seconds)


class Pause:
    """A task that awaits this goes on at an instant: its next step is the timer's callback itself.

    It has what a task asks of a future (`_asyncio_future_blocking` is how it tells one), and no more.
    """

    __slots__ = ("_asyncio_future_blocking", "_go_on", "_is_cancelled", "_loop", "_timer", "_when")

    def __init__(self, loop: VirtualLoop, seconds: float) -> None:
        """Nobody waits yet."""
        self._loop = loop
        self._when = loop.time() + seconds
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

    def add_done_callback(
        self, go_on: Callable[["Pause"], object], *, context: Context | None = None
    ) -> None:
        """Be told how to go on."""
        self._go_on = go_on, context
        self._timer = self._loop.call_at(self._when, go_on, self, context=context)

    def result(self) -> None:
        """Nothing comes of it."""

    def cancel(self, msg: object = None) -> bool:
        """Go on at once, in order to end."""
        del msg
        self._is_cancelled = True
        self._timer.cancel()
        go_on, context = self._go_on
        self._loop.call_soon(go_on, self, context=context)
        return True
