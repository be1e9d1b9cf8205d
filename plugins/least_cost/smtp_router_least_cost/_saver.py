"""Brings a book to its file: a second after something was counted, in a thread, one write at a time."""

import asyncio
import logging
from collections.abc import Mapping

from smtp_router_least_cost._book import Book
from smtp_router_least_cost._ledger import Ledger, LedgerError
from smtp_router_least_cost._tariff import Tariff

log = logging.getLogger("smtp_router_least_cost")

_AFTER_S = 1.0
_AGAIN_S = 10.0
"""After a write that failed."""


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

    def soon(self) -> None:
        """There is something to save."""
        if self._timer is None and self._task is None:
            after_s = _AGAIN_S if self._fails else _AFTER_S
            self._timer = asyncio.get_running_loop().call_later(after_s, self._begin)

    async def close(self) -> None:
        """Save what there is, and end."""
        if self._task:
            await self._task
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._book.is_saved:
            await self._save()

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
