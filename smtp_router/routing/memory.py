"""What is in doubt, in memory, and in a book that outlives the process.

Memory is what counts: the book is read once. While it cannot be written, all goes on as before, and what
it should know is told to it when it works again.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from smtp_router.core.clock import Clock
from smtp_router.core.fingerprint import Outline
from smtp_router.state.doubts import MAX_KEPT, Doubt
from smtp_router.state.file import StateError

log = logging.getLogger(__name__)


class Book(Protocol):
    """Keeps doubts where they outlive the process, as `smtp_router.state.doubts` does."""

    async def add(self, doubt: Doubt) -> None:
        """Keep one."""
        ...

    async def remove(self, key: str) -> bool:
        """Forget one; whether it was there."""
        ...


@dataclass(slots=True)
class _Kept:
    """A doubt, until when (on the clock that only moves forward), and whether it is in the book."""

    doubt: Doubt
    until: float
    is_written: bool


class Memory:
    """Doubts by their key."""

    def __init__(
        self,
        clock: Clock,
        book: Book | None,
        known: Iterable[Doubt],
        tell: Callable[[Doubt], None] | None = None,
    ) -> None:
        """Begin with what is known already; see `Doubts`."""
        self._clock = clock
        self._tell = tell
        self._book = book
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.outlines: Counter[Outline] = Counter()
        """What messages look like about which there is a doubt; `Doubts` adds others."""
        self._struck: set[str] = set()
        """What is to be struck off the book yet."""
        self._is_failing = False
        wall = clock.wall().timestamp()
        for doubt in known:
            self._keep(doubt, doubt.until - wall, is_written=True)

    def get(self, key: str) -> Doubt | None:
        """The doubt about this message, if it is not over."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock.now() >= kept.until:
            self._drop(key)  # the book sees by itself that it is over
            return None
        return kept.doubt

    async def put(self, doubt: Doubt, *, for_s: float) -> None:
        """Keep one for so many seconds, in place of what was known of the same message."""
        kept = self._keep(doubt, for_s, is_written=False)
        if self._book is None:
            return
        try:
            await self._book.add(doubt)
        except StateError as error:
            self._failed(error)
        else:
            kept.is_written = True
            await self._worked()
            if doubt.key not in self._kept:  # it was taken meanwhile
                await self._strike(doubt.key)
            elif self._tell is not None:
                self._tell(doubt)

    def hear(self, doubt: Doubt) -> None:
        """Keep one that a neighbour has put into the book that both have.

        Whichever of them strikes it off there is the one that may act on it.
        """
        self._keep(doubt, doubt.until - self._clock.wall().timestamp(), is_written=True)

    async def take(self, doubt: Doubt) -> bool:
        """Strike one off, so that the caller may act on it; not so if somebody else has done that.

        Nor if it cannot be struck off the book: it would be found there again after a restart.
        """
        kept = self._kept.get(doubt.key)
        if kept is None or kept.doubt is not doubt:
            return False
        self._drop(doubt.key)
        if self._book is None or not kept.is_written:
            return True
        return await self._strike(doubt.key)

    async def forget(self, doubt: Doubt) -> None:
        """It does not count any more."""
        await self.take(doubt)

    async def retry(self) -> None:
        """Strike off the book what it does not know of yet."""
        for key in self._struck - self._kept.keys():
            if not await self._strike(key) and key in self._struck:
                break  # the book still fails

    async def _strike(self, key: str) -> bool:
        assert self._book is not None
        self._struck.add(key)
        try:
            was_there = await self._book.remove(key)
        except StateError as error:
            self._failed(error)
            return False
        self._struck.discard(key)
        await self._worked()
        return was_there

    def _keep(self, doubt: Doubt, for_s: float, *, is_written: bool) -> _Kept:
        now = self._clock.now()
        if doubt.key in self._kept:
            self._drop(doubt.key)
        kept = self._kept[doubt.key] = _Kept(doubt, now + for_s, is_written)
        self.outlines[Outline(doubt.user, doubt.size)] += 1
        while self._kept:
            first = next(iter(self._kept.values()))
            if first.until > now and len(self._kept) <= MAX_KEPT:
                break
            self._drop(first.doubt.key)
        return kept

    def _drop(self, key: str) -> None:
        doubt = self._kept.pop(key).doubt
        seen = Outline(doubt.user, doubt.size)
        self.outlines[seen] -= 1
        if not self.outlines[seen]:
            del self.outlines[seen]

    def _failed(self, error: StateError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.error(
                "state file cannot be used, what is in doubt is kept in memory",
                extra={"fields": {"problem": str(error)}},
            )

    async def _worked(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("state file works again")
            await self.retry()
