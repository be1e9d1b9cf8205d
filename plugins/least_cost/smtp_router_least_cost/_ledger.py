"""The state file: an SQLite database with a row for each account and month.

What is written are additions, so all users of a router, and several routers of one machine, can have
the same file. A transaction is on the disk when it has ended, or has never been.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from smtp_router_least_cost._book import Count, Place
from smtp_router_least_cost._tariff import Tariff

_APPLICATION = 0x736D7063  # "smpc"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counted (
    month TEXT NOT NULL, account TEXT NOT NULL, messages INTEGER NOT NULL, recipients INTEGER NOT NULL,
    tariff TEXT NOT NULL, currency TEXT NOT NULL, PRIMARY KEY (month, account)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO counted VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (month, account) DO UPDATE SET
    messages = messages + excluded.messages, recipients = recipients + excluded.recipients,
    tariff = excluded.tariff, currency = excluded.currency
"""
_BUSY_S = 5.0


class LedgerError(Exception):
    """The file cannot be used; the text says which, and why."""


class Line(NamedTuple):
    """A row: one account's month."""

    place: Place
    sent: Count
    tariff: Tariff
    currency: str


class Ledger:
    """One state file. All calls block."""

    def __init__(self, path: Path, currency: str = "") -> None:
        """Nothing is opened yet, and nothing stays open between calls."""
        self.path = path
        self._currency = currency

    def check(self) -> None:
        """See that the file can be made, where it is not there; make nothing.

        Raises:
            LedgerError: its folder is not there, or others' alone.
        """
        folder = self.path.parent
        if not folder.is_dir():
            raise LedgerError(f"{folder} is no folder")
        if not os.access(self.path if self.path.exists() else folder, os.W_OK):
            raise LedgerError(f"{self.path} cannot be written")

    def read(self) -> list[Line]:
        """All there is, by month and account; nothing, if there is no file.

        Raises:
            LedgerError: it cannot be read, or is not such a file.
        """
        if not self.path.exists():
            return []
        with self._opened() as connection:
            if not _is_filled(connection, make=False):
                return []
            rows = connection.execute("SELECT * FROM counted ORDER BY month, account").fetchall()
        return [
            Line(Place(month, account), Count(messages, recipients), Tariff.from_json(tariff), currency)
            for month, account, messages, recipients, tariff, currency in rows
        ]

    def add(self, changes: Mapping[Place, Count], tariffs: Mapping[str, Tariff]) -> dict[Place, Count]:
        """Add to what is there.

        Args:
            changes: what was sent.
            tariffs: by account, for the bill.

        Returns:
            What there is now, in all of these months.

        Raises:
            LedgerError: it could not be done; nothing was added.
        """
        with self._opened(make=True) as connection:
            _is_filled(connection, make=True)
            connection.execute("BEGIN IMMEDIATE")
            for place, count in changes.items():
                tariff = tariffs[place.account].as_json()
                connection.execute(_ADD, (*place, *count, tariff, self._currency))
            months = sorted({place.month for place in changes})
            marks = ", ".join("?" * len(months))
            rows = connection.execute(
                f"SELECT month, account, messages, recipients FROM counted WHERE month IN ({marks})",  # noqa: S608 - question marks
                months,
            ).fetchall()
            connection.execute("COMMIT")
        return {
            Place(month, account): Count(messages, recipients)
            for month, account, messages, recipients in rows
        }

    @contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection; what goes wrong with it is a LedgerError."""
        try:
            if make:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            address = f"{self.path.absolute().as_uri()}?mode=rw"
            with closing(
                sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)
            ) as connection:
                yield connection
        except OSError as error:
            raise LedgerError(f"{self.path}: {error.strerror}") from error
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise LedgerError(f"{self.path}: {error}") from error


def _is_filled(connection: sqlite3.Connection, *, make: bool) -> bool:
    """Whether there is a table; there is one in the end, if it is to be made.

    A file without anything in it was just made, or somebody who was about to fill it was killed.

    Raises:
        sqlite3.DatabaseError: it is another program's.
    """
    connection.execute("BEGIN IMMEDIATE" if make else "BEGIN")  # others may be filling it
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise sqlite3.DatabaseError("is no state file of least_cost")
    if make and not tables:
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute("COMMIT")
    return make or bool(tables)
