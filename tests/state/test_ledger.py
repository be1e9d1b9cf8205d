"""Counts that several processes share, and that outlive them all."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from smtp_router.state.file import StateFile
from smtp_router.state.ledger import MOST, PERIODS_KEPT, Ledger, Period, grant_of
from smtp_router.state.tally import Tally, clear_away
from tests.running import environment

TODAY = "2026-08-01"


def day(limit: int, label: str = TODAY, name: str = "x") -> Period:
    return Period(name, label, limit)


@pytest_asyncio.fixture
async def ledgers(tmp_path: Path) -> AsyncIterator[Callable[[], Ledger]]:
    """Makes ledgers, each as if it were another process's."""
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger(StateFile(tmp_path / "state.db")))
        return made[-1]

    yield make
    for ledger in made:
        await ledger.close(all_ended=True)


async def counted(ledger: Ledger, name: str = "x", label: str = TODAY) -> int:
    found = await ledger._state.run(  # noqa: SLF001 - what stands there is what this is about
        lambda connection: connection.execute(
            "SELECT units FROM counted WHERE name = ? AND period = ?", (name, label)
        ).fetchone()
    )
    return int(found[0]) if found else 0


@pytest.mark.parametrize(
    ("left", "units"), [(0, 0), (1, 1), (7, 1), (8, 1), (16, 2), (512, 64), (10**9, MOST)]
)
def test_the_fewer_are_left_the_fewer_are_leased(left: int, units: int) -> None:
    assert grant_of(left) == (units, left - units)


async def test_no_more_is_leased_than_there_is(ledgers: Callable[[], Ledger]) -> None:
    ledger = ledgers()
    units = [(await ledger.lease(0, day(100))).units for _ in range(50)]
    assert sum(units) == 100
    assert units[-1] == 0


async def test_names_and_periods_count_apart(ledgers: Callable[[], Ledger]) -> None:
    ledger = ledgers()
    for slot, period in enumerate([day(1), day(1, name="y"), day(1, "2026-08-02"), day(1, "2026-08")]):
        assert (await ledger.lease(slot, period)).units == 1
        assert (await ledger.lease(slot, period)).units == 0


async def test_what_was_not_used_goes_back_at_the_end(ledgers: Callable[[], Ledger]) -> None:
    ledger = ledgers()
    assert (await ledger.lease(0, day(1000))).units == 64
    await ledger.end(0, day(1000), used=3)
    assert await counted(ledger) == 3


async def test_a_lease_that_has_ended_is_a_new_one_afterwards(ledgers: Callable[[], Ledger]) -> None:
    ledger = ledgers()
    for _ in range(3):
        assert (await ledger.lease(0, day(10))).units == 1
        ledger.used(0, 1)
        await ledger.end(0, day(10), used=1)
    assert await counted(ledger) == 3


async def test_two_processes_never_lease_more_than_there_is(ledgers: Callable[[], Ledger]) -> None:
    one, two = ledgers(), ledgers()
    leased = 0
    for _ in range(200):
        leased += (await one.lease(0, day(100))).units
        leased += (await two.lease(0, day(100))).units
    assert leased == 100


async def test_what_one_gives_back_the_other_gets(ledgers: Callable[[], Ledger]) -> None:
    one, two = ledgers(), ledgers()
    await one.lease(0, day(1))
    assert (await two.lease(0, day(1))).units == 0
    await one.end(0, day(1), used=0)
    assert (await two.lease(0, day(1))).units == 1


async def test_a_limit_that_is_lowered_below_what_is_counted_leaves_nothing(
    ledgers: Callable[[], Ledger],
) -> None:
    ledger = ledgers()
    await ledger.lease(0, day(1000))
    assert (await ledger.lease(1, day(10))) == (0, 0)


async def test_what_is_owed_is_counted_though_it_is_too_much(ledgers: Callable[[], Ledger]) -> None:
    ledger = ledgers()
    assert await ledger.lease(0, day(10), owed=12) == (0, 0)
    assert await counted(ledger) == 12
    await ledger.end(0, day(10), used=12)
    assert await counted(ledger) == 12


async def test_what_was_used_without_any_lease_is_counted_at_the_end(
    ledgers: Callable[[], Ledger],
) -> None:
    ledger = ledgers()
    await ledger.end(0, day(10), used=4)
    assert await counted(ledger) == 4


# Processes that are killed.


CHILD = """
import asyncio, json, sys
from pathlib import Path
from smtp_router.state.file import StateFile
from smtp_router.state.ledger import Ledger, Period

async def main():
    ledger = Ledger(StateFile(Path(sys.argv[1])))
    grant = await ledger.lease(0, Period("x", "2026-08-01", int(sys.argv[2])))
    for used in range(int(sys.argv[3]) + 1):
        ledger.used(0, used)
    print(json.dumps(grant), flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


class Child:
    """A process that leases once, has used some of it, and then does nothing any more."""

    def __init__(self, path: Path, limit: int, used: int) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", CHILD, str(path), str(limit), str(used)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        assert self.process.stdout
        self.leased = json.loads(self.process.stdout.readline())[0]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[int, int], Child]]:
    made: list[Child] = []

    def make(limit: int, used: int) -> Child:
        made.append(Child(tmp_path / "state.db", limit, used))
        return made[-1]

    yield make
    for one in made:
        one.close()


def tallies(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if "tally" in path.name]


@pytest.mark.parametrize("used", [0, 3, 64])
async def test_of_what_a_killed_process_had_leased_only_what_it_used_counts(
    tmp_path: Path, child: Callable[[int, int], Child], ledgers: Callable[[], Ledger], used: int
) -> None:
    one = child(1000, used)
    assert one.leased == 64
    one.kill()
    ledger = ledgers()
    ledger.open()
    assert await counted(ledger) == used
    ledgers().open()
    assert len(tallies(tmp_path)) == 2  # those of the two that live


async def test_a_process_that_lives_keeps_what_it_has_leased(
    child: Callable[[int, int], Child], ledgers: Callable[[], Ledger]
) -> None:
    one = child(8, 0)
    ledger = ledgers()
    units = [(await ledger.lease(0, day(8))).units for _ in range(20)]
    assert sum(units) == 7
    one.kill()
    assert (await ledger.lease(0, day(8))).units == 1  # which another was killed for meanwhile


async def test_if_nobody_knows_what_a_process_has_used_all_of_it_counts(
    tmp_path: Path, child: Callable[[int, int], Child], ledgers: Callable[[], Ledger]
) -> None:
    child(1000, 3).kill()
    for name in tallies(tmp_path):
        (tmp_path / name).unlink()
    ledger = ledgers()
    ledger.open()
    assert await counted(ledger) == 64
    assert (await ledger.lease(0, day(64))).units == 0


async def test_a_process_that_could_not_end_its_leases_leaves_them_to_the_next(
    tmp_path: Path, ledgers: Callable[[], Ledger]
) -> None:
    one = Ledger(StateFile(tmp_path / "state.db"))
    await one.lease(0, day(1000))
    one.used(0, 5)
    await one.close(all_ended=False)
    ledger = ledgers()
    ledger.open()
    assert await counted(ledger) == 5


async def test_a_process_that_ends_in_order_leaves_nothing_but_the_count(
    tmp_path: Path,
) -> None:
    one = Ledger(StateFile(tmp_path / "state.db"))
    await one.lease(0, day(1000))
    one.used(0, 5)
    await one.end(0, day(1000), used=5)
    await one.close(all_ended=True)
    assert os.listdir(tmp_path) == ["state.db"]  # noqa: PTH208 - which is allowed to block


def test_a_tally_is_cleared_away_only_if_its_process_has_ended(
    tmp_path: Path, ledgers: Callable[[], Ledger]
) -> None:
    living = Tally(tmp_path / "state.db")
    dead = Tally(tmp_path / "state.db")
    dead.close(keep=True)
    (tmp_path / "another.db-tally-1").touch()
    ledgers().open()
    assert f"state.db-tally-{living.process}" in tallies(tmp_path)
    assert f"state.db-tally-{dead.process}" not in tallies(tmp_path)
    assert "another.db-tally-1" in tallies(tmp_path)
    living.close(keep=False)


async def test_counts_are_kept_for_as_long_as_a_clock_may_be_wrong(
    ledgers: Callable[[], Ledger],
) -> None:
    ledger = ledgers()
    labels = [f"{year}-01-01" for year in range(2000, 2000 + PERIODS_KEPT + 5)]
    for label in labels:
        await ledger.end(0, day(1, label), used=1)
    await ledger.end(0, day(1, "2000-01"), used=1)
    ledgers().open()
    assert [await counted(ledger, label=label) for label in labels] == [0] * 5 + [1] * PERIODS_KEPT
    assert await counted(ledger, label="2000-01") == 1


def test_a_tally_that_is_cleared_away_before_it_is_locked_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, races = fcntl.flock, iter([True])

    def lose_the_race(file: int, how: int) -> None:
        if next(races, False):
            clear_away(tmp_path / "state.db", set())  # as another process that starts just now
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", lose_the_race)
    tally = Tally(tmp_path / "state.db")
    assert tallies(tmp_path) == [f"state.db-tally-{tally.process}"]
    tally.close(keep=False)


def test_a_descriptor_is_not_inherited(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "state.db")
    assert not os.get_inheritable(tally._file)  # noqa: SLF001 - a child would keep the lock
    tally.close(keep=False)
