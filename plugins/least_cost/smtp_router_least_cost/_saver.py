"""Brings a book to its file: a second after something was counted, in a thread, one write at a time.

A simulation reads the file and does not write it: what it counts was never sent.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from smtp_router_least_cost._book import Book
from smtp_router_least_cost._ledger import Ledger, LedgerError
from smtp_router_least_cost._tariff import Tariff

log = logging.getLogger("smtp_router_least_cost")

_AFTER_S = 1.0
_AGAIN_S = 10.0
"""After a write that failed."""
_REAL_S = 60.0
"""How far the time of a real event loop may be from the machine's."""


class Saver:
    """Saves one book."""

    def __init__(self, book: Book, ledger: Ledger, tariffs: Mapping[str, Tariff]) -> None:
        """Nothing is written yet.

        Args:
            book: what is saved.
            ledger: where.
            tariffs: by account, as they are when it is written.
        """
        self._book = book
        self._ledger = ledger
        self._tariffs = tariffs
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._fails = False
        self._real: bool | None = None

    def soon(self) -> None:
        """There is something to save."""
        if self._timer is None and self._task is None and self._is_real():
            after_s = _AGAIN_S if self._fails else _AFTER_S
            self._timer = asyncio.get_running_loop().call_later(after_s, self._begin)

    async def close(self) -> None:
        """Save what there is, and end."""
        if self._task:
            await self._task
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._book.is_saved and self._is_real():
            await self._save()

    def _is_real(self) -> bool:
        """Whether time is the machine's, and so mail is real; found out once."""
        if self._real is None:
            off_s = asyncio.get_running_loop().time() - time.monotonic()
            self._real = abs(off_s) < _REAL_S
            if not self._real:
                log.info("costs are not saved: time is not this machine's")
        return self._real

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._save_and_go_on())

    async def _save_and_go_on(self) -> None:
        await self._save()
        self._task = None
        if not self._book.is_saved:
            self.soon()

    async def _save(self) -> None:
        changes = self._book.take_unsaved()
        try:
            totals = await asyncio.to_thread(self._ledger.add, changes, dict(self._tariffs))
        except LedgerError as error:
            self._book.not_saved(changes)
            if not self._fails:
                log.error("costs not saved, counted in memory until it works again: %s", error)  # noqa: TRY400 - the text says it
            self._fails = True
        else:
            self._book.saved(totals)
            if self._fails:
                log.warning("costs saved again: %s", self._ledger.path)
            self._fails = False
