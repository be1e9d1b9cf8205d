"""The state file: opened, damaged, full, locked, somebody else's."""

import asyncio
import resource
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smtp_router.state.file import StateError, StateFile


def nothing(_: sqlite3.Connection) -> None: ...


def count(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM counted").fetchone()
    assert isinstance(found, int)
    return found


def insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO counted VALUES (hex(randomblob(8)), '2026-08-01', 1)")


def refusal(path: Path) -> str:
    with pytest.raises(StateError) as refused:
        StateFile(path).run_now(nothing)
    return str(refused.value)


def test_it_is_made_when_it_is_not_there_and_nobody_elses_business(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    StateFile(path).run_now(nothing)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    StateFile(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []


async def test_what_was_done_is_there_for_the_next(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    await state.run(insert)
    assert await StateFile(tmp_path / "state.db").run(count) == 1
    await state.close()


async def test_work_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")

    def work(connection: sqlite3.Connection) -> None:
        insert(connection)
        connection.execute("SELECT nonsense")

    with pytest.raises(StateError, match="no such column: nonsense"):
        await state.run(work)
    assert await state.run(count) == 0

    def fault(connection: sqlite3.Connection) -> None:
        insert(connection)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await state.run(fault)
    assert await state.run(count) == 0


async def test_it_is_worked_on_by_one_thread_that_is_not_the_event_loops(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    threads = {await state.run(lambda _: threading.get_ident()) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await state.close()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "state.db"
    assert refusal(path) == f"{path}: No such file or directory"


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize("octets", [b"no database at all, " * 100, b"SQLite format 3\0" + bytes(2000)])
def test_a_file_that_is_no_database_is_an_error(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(octets)
    assert refusal(path).startswith(f"{path}: ")
    assert path.read_bytes() == octets


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = StateFile(path)
    for _ in range(1000):
        state.run_now(insert)
    asyncio.run(state.close())
    octets = path.read_bytes()
    path.write_bytes(octets[: 3 * 4096] + bytes(len(octets) - 3 * 4096))
    assert refusal(path).startswith(f"{path}: ")


def test_another_programs_database_is_an_error_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    assert refusal(path) == f"{path}: of another program"


def test_a_later_versions_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    StateFile(path).run_now(lambda connection: connection.execute("PRAGMA user_version = 99"))
    assert refusal(path) == f"{path}: of version 99, which this router does not know"


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """As on a full disk: what is written beyond a file's end fails (and Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_an_error_until_there_is_room_again(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    await state.run(insert)
    with no_file_may_grow(), pytest.raises(StateError):
        await state.run(insert)
    assert await state.run(count) == 1
    await state.run(insert)
    assert await state.run(count) == 2
    await state.close()
