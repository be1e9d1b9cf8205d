import asyncio
import json
import logging
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smtp_router.testing import VirtualClock, make_attempt, make_downstream, make_message
from smtp_router_least_cost import LeastCost
from smtp_router_least_cost._bill import main
from smtp_router_least_cost._book import Count, Place
from smtp_router_least_cost._ledger import Ledger, LedgerError
from smtp_router_least_cost._tariff import terms_of

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
TIERS = [{"up_to": 3, "cost_per_1000": 0}, {"cost_per_1000": 800}]


OFFERED = [
    make_downstream("a", options={"tiers": TIERS}),
    make_downstream("b", options={"cost_per_1000": 1, "monthly_fee": 15, "quota": 50_000}),
]
TARIFFS = {one.name: terms_of(one).tariff for one in OFFERED}


def made(path: Path, clock: VirtualClock | None = None) -> LeastCost:
    return LeastCost(clock or VirtualClock(wall=NOW), str(path), currency="EUR")


def send(algorithm: LeastCost, messages: int = 1) -> str:
    chosen = ""
    for _ in range(messages):
        mail = make_message()
        found = algorithm.select_downstream(mail, OFFERED)
        assert found
        algorithm.after_send(mail, make_attempt(found))
        chosen += found.name
    return chosen


def recipients(path: Path, account: str, month: str = "2026-11") -> int:
    lines = {line.place: line.sent for line in Ledger(path).read()}
    return lines.get(Place(month, account), Count()).recipients


async def until(path: Path, account: str, count: int) -> None:
    """Waits until the file has it."""
    for _ in range(1000):
        if recipients(path, account) == count:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "costs.db"


async def test_a_restart_goes_on_where_it_was(path: Path) -> None:
    for expected in ("aa", "ab", "bb"):
        algorithm = made(path)
        assert send(algorithm, 2) == expected
        await algorithm.close()
    assert (recipients(path, "a"), recipients(path, "b")) == (3, 3)


async def test_what_was_sent_is_saved_without_being_closed(path: Path) -> None:
    first, second = made(path), made(path)
    assert send(first, 2) == "aa"
    await until(path, "a", 2)
    assert send(first) == "a"
    await until(path, "a", 3)
    await first.close()
    await second.close()
    assert recipients(path, "a") == 3


def locked(path: Path) -> sqlite3.Connection:
    """Holds the file, so that a write waits, until this is closed."""
    connection = sqlite3.connect(path)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


async def test_what_is_sent_while_it_is_saved_counts_and_is_saved_next(path: Path) -> None:
    algorithm = made(path)
    send(algorithm)
    lock = locked(path)
    closing = asyncio.create_task(algorithm.close())
    await asyncio.sleep(0)  # the write has begun
    assert send(algorithm, 2) == "aa"
    lock.close()
    await closing
    assert send(algorithm) == "b"
    await algorithm.close()
    assert (recipients(path, "a"), recipients(path, "b")) == (3, 1)


async def test_to_close_waits_for_a_write_that_has_begun(path: Path) -> None:
    algorithm = made(path)
    send(algorithm)
    lock = locked(path)
    for _ in range(1000):
        if len(asyncio.all_tasks()) > 1:  # a second later there is one that saves
            break
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(algorithm.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    lock.close()
    await closing
    assert recipients(path, "a") == 1


async def test_users_with_the_same_file_share_its_accounts(path: Path) -> None:
    first, second = made(path), made(path)
    assert send(first, 2) == "aa"
    await first.close()
    assert send(second) == "a"  # it has not heard of the others yet
    await second.close()
    assert send(second) == "b"
    await second.close()
    assert send(first) == "a"
    await first.close()
    assert recipients(path, "a") == 4


async def test_months_have_rows_of_their_own(path: Path) -> None:
    clock = VirtualClock(wall=NOW)
    algorithm = made(path, clock)
    send(algorithm, 4)
    clock.advance(30 * 86_400)
    assert send(algorithm) == "a"
    await algorithm.close()
    assert [recipients(path, "a", month) for month in ("2026-11", "2026-12")] == [3, 1]
    lines = [line.place for line in Ledger(path).read()]
    assert Place("2026-12", "b") in lines  # its fee is due


async def test_a_file_that_fails_stops_no_mail_and_loses_no_count(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = made(path)
    os.mkdir(path)  # noqa: PTH102 - nothing that waits
    assert send(algorithm, 4) == "aaab"
    for _ in range(3):
        await algorithm.close()
        assert send(algorithm) == "b"
    os.rmdir(path)  # noqa: PTH106 - nothing that waits
    await algorithm.close()
    assert send(algorithm) == "b"
    await algorithm.close()
    assert (recipients(path, "a"), recipients(path, "b")) == (3, 5)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        f"costs not saved, counted in memory until it works again: {path}: Is a directory",
        f"costs saved again: {path}",
    ]


def test_to_be_made_makes_nothing(path: Path) -> None:
    """As by `smtp-router check`."""
    made(path)
    assert not path.exists()


async def test_the_file_is_for_the_router_alone(path: Path) -> None:
    algorithm = made(path)
    send(algorithm)
    await algorithm.close()
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 - nothing that waits


def test_a_file_that_is_none_of_ours_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(ValueError, match=r"^state: /.*costs\.db: is no state file of least_cost$"):
        made(path)
    path.write_bytes(b"something else, and longer than a header of a hundred octets" * 100)
    with pytest.raises(ValueError, match=r"^state: /.*costs\.db: file is not a database$"):
        made(path)
    with pytest.raises(LedgerError):
        Ledger(path).add({Place("2026-11", "a"): Count(1, 1)}, TARIFFS)
    assert path.read_bytes().startswith(b"something else")


def test_a_file_that_somebody_was_killed_over_is_filled(path: Path) -> None:
    path.touch()
    made(path)
    assert Ledger(path).read() == []
    Ledger(path).add({Place("2026-11", "a"): Count(1, 1)}, TARIFFS)
    assert recipients(path, "a") == 1


def test_many_may_make_the_file_at_the_same_time(tmp_path: Path) -> None:
    many, place = 8, Place("2026-11", "a")
    for turn in range(10):
        path = tmp_path / f"{turn}.db"
        ready = threading.Barrier(many)

        def add(path: Path = path, ready: threading.Barrier = ready) -> None:
            ready.wait(10)
            Ledger(path).read()
            Ledger(path).add({place: Count(1, 1)}, TARIFFS)

        with ThreadPoolExecutor(many) as pool:
            for done in [pool.submit(add) for _ in range(many)]:
                done.result()
        assert recipients(path, "a") == many


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^state: /.*/none is no folder$"):
        made(tmp_path / "none" / "costs.db")


@pytest.mark.parametrize("state", ["costs.db", "", "./costs.db", "/a\0b", 1])
def test_a_path_has_to_be_absolute(state: str) -> None:
    with pytest.raises(ValueError, match=r"^state must be an absolute path, or null"):
        LeastCost(VirtualClock(), state)


def test_an_addition_is_whole_or_not_at_all(path: Path) -> None:
    ledger = Ledger(path)
    ledger.add({Place("2026-11", "a"): Count(1, 2)}, TARIFFS)
    with pytest.raises(LedgerError):
        ledger.add(
            {Place("2026-11", "a"): Count(1, 2), Place("2026-11", "unknown"): Count(1, 1)}, TARIFFS
        )
    assert [line.sent for line in ledger.read()] == [Count(1, 2)]


def test_a_month_has_the_last_price_that_it_had(path: Path) -> None:
    ledger, place = Ledger(path, "EUR"), Place("2026-11", "a")
    ledger.add({place: Count(1, 1)}, TARIFFS)
    Ledger(path, "USD").add({place: Count(1, 1)}, {"a": TARIFFS["b"]})
    (line,) = ledger.read()
    assert (line.sent, line.tariff, line.currency) == (Count(2, 2), TARIFFS["b"], "USD")


def test_a_simulation_saves_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It would spoil the bill of what was sent indeed."""

    class VirtualLoop(asyncio.SelectorEventLoop):
        offset_s = -1_000_000

        def time(self) -> float:
            return super().time() + self.offset_s

    async def simulate() -> None:
        algorithm = made(path)
        send(algorithm, 3)
        VirtualLoop.offset_s += 10  # ten seconds later
        await asyncio.sleep(0.01)
        await algorithm.close()

    caplog.set_level(logging.INFO)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(simulate())
    assert not path.exists()
    assert "costs are not saved: time is not this machine's" in caplog.messages


# The bill


def fill(path: Path) -> None:
    ledger = Ledger(path, "EUR")
    ledger.add({Place("2026-10", "a"): Count(9, 9)}, TARIFFS)
    ledger.add(
        {Place("2026-11", "a"): Count(900, 1003), Place("2026-11", "b"): Count(0, 0)},
        TARIFFS,
    )


TABLE = """\
2026-11

account  messages  recipients    left    fee    mail       total
a             900       1,003           0.00  800.00  800.00 EUR
b               0           0  50,000  15.00    0.00   15.00 EUR

in all 815.00 EUR
"""


def test_the_bill_is_a_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == TABLE


def test_the_bill_of_another_month_is_on_record(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    assert main([str(path), "--month", "2026-10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "month": "2026-10",
        "accounts": {
            "a": {
                "messages": 9,
                "recipients": 9,
                "quota": None,
                "fee": "0",
                "mail": "4.8",
                "total": "4.8",
                "currency": "EUR",
            }
        },
    }


def test_what_cannot_be_read_has_no_bill(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 1
    assert capsys.readouterr().err == f"smtp-router-bill: {path} is not there\n"
    fill(path)
    assert main([str(path), "--month", "2026-09"]) == 1
    assert capsys.readouterr().err == f"smtp-router-bill: {path} has nothing for 2026-09\n"
    path.write_bytes(b"x" * 200)
    assert main([str(path)]) == 1
    assert "file is not a database" in capsys.readouterr().err
