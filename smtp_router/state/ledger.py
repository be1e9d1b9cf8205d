"""Who has used how much of a quota: counts that several processes share and that outlive them all.

A process does not count message by message. It leases units, which count as used from then on, and
says at the end how many of them it did use. Until then that is in its tally. So if it is killed, whoever
comes next finds out which of its units are free again: no unit is ever in two hands, and none is lost.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from smtp_router.state.file import StateError, StateFile
from smtp_router.state.tally import Tally, clear_away, numbers_of_the_dead

MOST = 64
"""How many units are leased at once."""
SHARE = 8
"""... but no more than one in so many of those that are left: other processes want some, too."""
PERIODS_KEPT = 64
"""How many periods back counts are kept, of each name: further than a clock is ever set back."""


class Period(NamedTuple):
    """A day or a month of one quota."""

    name: str
    """Of the quota."""
    label: str
    """`2026-08-01` or `2026-08`."""
    limit: int
    """How many units it has."""


class Grant(NamedTuple):
    """What was leased."""

    units: int
    left: int
    """How many are left after that."""


def grant_of(left: int) -> Grant:
    """What is leased if so many are left."""
    units = min(MOST, left, max(left // SHARE, 1))
    return Grant(units, left - units)


class Ledger:
    """The quotas as one process sees them."""

    def __init__(self, state: StateFile) -> None:
        """Nothing is opened yet."""
        self._state = state
        self._tally: Tally | None = None
        self._begun: set[int] = set()

    def open(self) -> None:
        """Open the file, and free what processes that were killed have left; takes a moment.

        Raises:
            StateError: it cannot be used.
        """
        self._state.run_now(self._opened)

    async def lease(self, slot: int, period: Period, *, owed: int = 0) -> Grant:
        """Lease units, or some more.

        Args:
            slot: which of this process's leases it is.
            period: what of; the same each time, until the lease is ended.
            owed: units that were used without asking, because the file could not be written.

        Returns:
            What was leased beside these; of a quota that is used up, nothing.

        Raises:
            StateError: the file cannot be used.
        """

        def work(connection: sqlite3.Connection) -> Grant:
            tally = self._opened(connection)
            if slot not in self._begun:
                tally.write(slot, 0)  # which makes room for it on the disk, and nobody else does
                self._begun.add(slot)
            grant = _take(connection, period, owed)
            if not grant.units and _free_what_the_dead_left(connection, self._state.path):
                grant = _take(connection, period, 0)
            connection.execute(
                "INSERT INTO leased VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (process, slot) DO UPDATE SET units = units + excluded.units",
                (tally.process, slot, period.name, period.label, grant.units + owed),
            )
            return grant

        return await self._state.run(work)

    def used(self, slot: int, units: int) -> None:
        """So many units of a lease are used. It counts at once, whatever becomes of this process.

        Raises:
            StateError: the disk does not take it.
        """
        if self._tally is None:
            return  # the file could not be opened yet, so it knows nothing of the lease either
        try:
            self._tally.write(slot, units)
        except OSError as error:
            raise StateError(f"{self._state.path}-tally: {error.strerror}") from error

    async def end(self, slot: int, period: Period, *, used: int) -> None:
        """End a lease: so many units of it were used, the others are anybody's again.

        Raises:
            StateError: the file cannot be used.
        """

        def work(connection: sqlite3.Connection) -> None:
            tally = self._opened(connection)
            lease = (tally.process, slot)
            (leased,) = connection.execute(
                "SELECT ifnull(sum(units), 0) FROM leased WHERE process = ? AND slot = ?", lease
            ).fetchone()
            connection.execute("DELETE FROM leased WHERE process = ? AND slot = ?", lease)
            _count(connection, period.name, period.label, used - leased)
            self._begun.discard(slot)

        await self._state.run(work)

    async def close(self, *, all_ended: bool) -> None:
        """Close the file.

        Args:
            all_ended: whether no lease is left; otherwise the next process frees what it can.
        """
        await self._state.close()
        if self._tally is not None:
            self._tally.close(keep=not all_ended)
            self._tally = None

    def _opened(self, connection: sqlite3.Connection) -> Tally:
        if self._tally is None:
            _free_what_the_dead_left(connection, self._state.path)
            connection.execute(_FORGET, (PERIODS_KEPT,))
            processes = connection.execute("SELECT DISTINCT process FROM leased")
            clear_away(self._state.path, {process for (process,) in processes})
            self._tally = Tally(self._state.path)
        return self._tally


_FORGET = """
DELETE FROM counted WHERE (
    SELECT count(*) FROM counted AS later
    WHERE later.name = counted.name AND length(later.period) = length(counted.period)
    AND later.period > counted.period
) >= ?
"""


def _take(connection: sqlite3.Connection, period: Period, owed: int) -> Grant:
    found = connection.execute(
        "SELECT units FROM counted WHERE name = ? AND period = ?", (period.name, period.label)
    ).fetchone()
    grant = grant_of(max(period.limit - (found[0] if found else 0) - owed, 0))
    _count(connection, period.name, period.label, grant.units + owed)
    return grant


def _count(connection: sqlite3.Connection, name: str, label: str, units: int) -> None:
    connection.execute(
        "INSERT INTO counted VALUES (?, ?, ?)"
        " ON CONFLICT (name, period) DO UPDATE SET units = units + excluded.units",
        (name, label, units),
    )


def _free_what_the_dead_left(connection: sqlite3.Connection, path: Path) -> bool:
    """End the leases of processes that have ended without doing so; whether there were any."""
    freed = False
    for (process,) in connection.execute("SELECT DISTINCT process FROM leased").fetchall():
        try:
            tally = numbers_of_the_dead(path, process)
        except FileNotFoundError:
            tally = {}  # nobody knows any more, so all may be used
        if tally is None:
            continue
        leases = connection.execute(
            "SELECT slot, name, period, units FROM leased WHERE process = ?", (process,)
        ).fetchall()
        for slot, name, label, units in leases:
            _count(connection, name, label, tally.get(slot, units) - units)
        connection.execute("DELETE FROM leased WHERE process = ?", (process,))
        freed = True
    return freed
