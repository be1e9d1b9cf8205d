"""The open sessions of one listener, and the one timer that looks after all of them."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

MAX_TICK_S = 1.0
TICKS = 20
"""How often a time limit is looked at while it runs: it is kept to a twentieth, or a second."""


class Watched(Protocol):
    """What the timer looks after."""

    def check(self, now: float) -> None:
        """See whether time is up."""
        ...


Session = TypeVar("Session", bound=Watched)


class Register(Generic[Session]):
    """Knows the sessions that are open, and those that are closed but not done yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, idle_s: Callable[[], float]) -> None:
        """Nobody is there.

        Args:
            loop: the event loop.
            idle_s: the shortest time limit, as it is now.
        """
        self._loop = loop
        self._idle_s = idle_s
        self._sessions: set[Session] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._nobody = asyncio.Event()
        self._nobody.set()

    def add(self, session: Session) -> None:
        """A session begins."""
        if not self._sessions:
            self._nobody.clear()
        self._sessions.add(session)
        if self._timer is None:
            self._wait()

    def discard(self, session: Session) -> None:
        """A session is over, and nothing runs for it any more."""
        self._sessions.discard(session)
        if not self._sessions:
            self._nobody.set()

    def __iter__(self) -> Iterator[Session]:
        """The sessions as they are now."""
        return iter(tuple(self._sessions))

    async def empty(self) -> None:
        """Wait until nobody is left."""
        await self._nobody.wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(min(self._idle_s() / TICKS, MAX_TICK_S), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._sessions:
            return
        self._wait()  # first: whatever happens below, time goes on
        now = self._loop.time()
        for session in self:
            session.check(now)
