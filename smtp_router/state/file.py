"""The state file: SQLite, in a thread of its own, so that no disk ever holds up the event loop.

What `run` has returned from outlives this process, however it ends. A machine that loses power may lose
the last moments, never the file (WAL with `synchronous=NORMAL`: sqlite.org/wal.html, 3).
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

BUSY_S = 5.0
"""How long to wait for another process, which holds the file for microseconds."""

_APPLICATION = 0x736D7072  # "smpr": of SQLite's files, only those with this are ours
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counted (
    name TEXT NOT NULL, period TEXT NOT NULL, units INTEGER NOT NULL, PRIMARY KEY (name, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leased (
    process TEXT NOT NULL, slot INTEGER NOT NULL, name TEXT NOT NULL, period TEXT NOT NULL,
    units INTEGER NOT NULL, PRIMARY KEY (process, slot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doubts (
    key TEXT PRIMARY KEY, user TEXT NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
    id TEXT NOT NULL, downstream TEXT NOT NULL, made REAL NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
"""
"""A table that is missing is made: files from before it was needed stay good, for either version."""


class StateError(Exception):
    """The state file cannot be used; the text says which, and why."""


class StateFile:
    """One state file; several processes of one machine may have the same."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    def run_now(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """As `run`, for the start: the caller waits. Opens the file, and makes it if it is not there.

        Raises:
            StateError: it cannot be read and written, is damaged, or is another program's.
        """
        return self._thread.submit(self._run, work).result()

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do this in the file's thread, as one transaction.

        Raises:
            StateError: it could not be done; the file is as if nothing had been tried.
        """
        if self._is_closed:
            raise StateError(f"{self.path}: is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def close(self) -> None:
        """Close it for good, when what was begun is done."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StateError(f"{self.path}: {error}") from error
        return result

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = _connect(self.path)
            except (sqlite3.Error, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise StateError(f"{self.path}: {reason}") from error
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is whole, and ours.

    Raises:
        OSError: the file cannot be opened.
        sqlite3.Error: it is damaged, or another program's.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        _see_that_it_is_ours(connection)
        connection.execute("COMMIT")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"damaged: {found}")
    except BaseException:
        connection.close()
        raise
    return connection


def _see_that_it_is_ours(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == _APPLICATION and version != _VERSION:
        raise sqlite3.DatabaseError(f"of version {version}, which this router does not know")
    if application != _APPLICATION and tables:
        raise sqlite3.DatabaseError("of another program")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")
