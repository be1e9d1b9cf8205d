"""Limits by the day and the month: what the router makes of them."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from smtp_router import Outcome
from smtp_router.core.decision import USED_UP
from smtp_router.routing.lease import BooksInMemory
from smtp_router.routing.quotas import LOOK_S
from tests.routing.bench import Bench, records
from tests.state.test_file import no_file_may_grow
from tests.support import (
    USER,
    Sent,
    config_text,
    deferred,
    delivered,
    in_doubt,
    rejected,
    unreachable,
    user_config,
)

MIDNIGHT_S = 71_694
"""How long after the start of a virtual clock (04:05:06) it is until midnight."""
Make = Callable[..., Bench]


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes benches in folders of their own; all have the same state file."""
    made: list[Bench] = []

    def bench(**config: Any) -> Bench:  # noqa: ANN401 - as for Bench
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Bench(folder, state=tmp_path / "state.db", **config))
        return made[-1]

    yield bench
    for one in made:
        await one.quotas.close()


def only(**limits: object) -> dict[str, Any]:
    """A configuration with a single downstream."""
    return {"downstreams": {"a": {"addr": "a.example:25", "limits": limits}}}


async def through(bench: Bench, tries: int = 50, **message: Any) -> int:  # noqa: ANN401 - as for a message
    """How many of so many messages are delivered."""
    replies = [await bench.route(**message) for _ in range(tries)]
    assert {reply for reply in replies if reply.code != 250} <= {USED_UP}
    return sum(reply.code == 250 for reply in replies)


def counted(bench: Bench) -> dict[tuple[str, str], int]:
    """What stands in the state file."""
    connection = sqlite3.connect(bench.state)
    try:
        return {
            (name, period): units
            for name, period, units in connection.execute("SELECT name, period, units FROM counted")
        }
    finally:
        connection.close()


# Days and months.


@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_so_many_go_through_a_day_and_not_one_more(make: Make, limit: int) -> None:
    bench = make(**only(per_day=limit))
    assert await through(bench) == limit


async def test_the_next_day_is_another_one(make: Make) -> None:
    bench = make(**only(per_day=3))
    assert await through(bench) == 3
    bench.clock.advance(MIDNIGHT_S - 1)
    assert await through(bench) == 0
    bench.clock.advance(1)
    assert await through(bench) == 3


async def test_a_month_is_counted_beside_the_days(make: Make) -> None:
    bench = make(**only(per_day=3, per_month=5))
    assert await through(bench) == 3
    bench.clock.advance(24 * 3600)
    assert await through(bench) == 2
    bench.clock.advance(24 * 3600)
    assert await through(bench) == 0
    bench.clock.advance(28 * 24 * 3600)
    assert await through(bench) == 3


async def test_what_is_over_the_quota_goes_to_the_next(make: Make) -> None:
    limited = {"addr": "a.example:25", "limits": {"per_day": 2}}
    bench = make(downstreams={"a": limited, "b": "b.example:25"})
    assert await through(bench, 4) == 4
    assert "".join(bench.sender.names) == "aabb"


async def test_many_at_once_do_not_overshoot(make: Make) -> None:
    async def later(_: Sent) -> Outcome:
        for _turn in range(5):
            await asyncio.sleep(0)
        return delivered()

    bench = make(script={"a": later}, **only(per_day=77, per_month=1000))
    replies = await asyncio.gather(*(bench.route(id=str(number)) for number in range(200)))
    assert sum(reply.code == 250 for reply in replies) == 77
    assert len(bench.sender.sent) == 77


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (delivered(), True),
        (in_doubt(), True),
        (unreachable(), False),
        (rejected(), False),
        (deferred("450 4.2.1 no"), False),
    ],
    ids=str,
)
async def test_only_what_was_taken_or_may_have_been_counts(
    make: Make,
    outcome: Outcome,
    counts: bool,  # noqa: FBT001 - a parameter
) -> None:
    bench = make(script={"a": [outcome, delivered()]}, **only(per_day=1))
    await bench.route()
    assert (await bench.route() == USED_UP) == counts


async def test_a_message_refused_after_its_final_dot_counts_no_longer(make: Make) -> None:
    async def refuse(sent: Sent) -> Outcome:
        sent.on_final()
        return rejected()

    config = only(per_day=1)
    bench = make(script={"a": [refuse]}, **config)
    assert (await bench.route()).code == 550
    await bench.quotas.close()
    assert await through(make(**config)) == 1


async def test_a_fault_of_our_own_counts_once_the_dot_is_out(make: Make) -> None:
    async def fail(sent: Sent) -> Outcome:
        sent.on_final()
        raise RuntimeError

    bench = make(script={"a": [RuntimeError(), fail, delivered()]}, **only(per_day=2))
    for _ in range(2):
        assert (await bench.route()).code == 451
    assert await through(bench) == 1


async def test_the_log_says_when_it_opens_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make(**only(per_day=1, per_month=1))
    await through(bench, 2)
    assert records(caplog, "limits used up")[0]["opens"] == "2026-03-01T00:00:00+00:00"


async def test_nobody_waits_for_the_next_day(make: Make) -> None:
    bench = make(**only(per_day=1, wait_s=60))
    assert await through(bench, 2) == 1


# Over reloads, restarts and processes.


async def test_counts_survive_a_restart(make: Make) -> None:
    config = only(per_day=30)
    one = make(**config)
    assert await through(one, 20) == 20
    await one.quotas.close()
    assert await through(make(**config)) == 10


async def test_counts_survive_a_process_that_never_gave_anything_back(make: Make) -> None:
    config = only(per_day=30)
    one = make(**config)
    assert await through(one, 20) == 20
    await one.books.close(all_ended=False)  # as the system does with one that is killed
    assert await through(make(**config)) == 10


async def test_processes_share_a_quota(make: Make) -> None:
    config = only(per_day=30, per_month=100)
    one, two = make(**config), make(**config)
    total = 0
    for _ in range(40):
        total += await through(one, 1) + await through(two, 1)
    for bench in (one, two):
        for _ in range(3):
            await bench.quotas.tidy()
        total += await through(bench)
    assert total == 30


async def test_what_one_does_not_need_another_gets_without_a_restart(make: Make) -> None:
    config = only(per_day=30)
    one, two = make(**config), make(**config)
    assert await through(one, 1) == 1
    assert await through(two, 40) < 29
    for _ in range(3):
        await one.quotas.tidy()
        await two.quotas.tidy()
        await through(two, 5)
    assert len(one.sender.sent) + len(two.sender.sent) == 30


async def test_an_idle_process_holds_nothing(make: Make) -> None:
    bench = make(**only(per_day=1000))
    assert await through(bench, 3) == 3
    assert sum(counted(bench).values()) > 3
    for _ in range(2):
        await bench.quotas.tidy()
    assert counted(bench) == {(f"{USER}/a", "2026-02-03"): 3}
    assert await through(bench, 3) == 3


async def test_units_of_messages_under_way_are_not_given_back(make: Make) -> None:
    gate = asyncio.Event()

    async def wait(_: Sent) -> Outcome:
        await gate.wait()
        return delivered()

    bench = make(script={"a": wait}, **only(per_day=2))
    tasks = [asyncio.create_task(bench.route()) for _ in range(2)]
    while len(bench.sender.sent) < 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)
    for _ in range(3):
        await bench.quotas.tidy()
    assert await bench.route() == USED_UP
    gate.set()
    assert {reply.code for reply in await asyncio.gather(*tasks)} == {250}
    assert await through(bench, 2) == 0


async def test_a_unit_of_a_message_in_its_last_stage_can_still_come_back(make: Make) -> None:
    gate = asyncio.Event()

    async def refuse_late(sent: Sent) -> Outcome:
        sent.on_final()
        await gate.wait()
        return rejected()

    bench = make(script={"a": [refuse_late, delivered()]}, **only(per_day=1))
    task = asyncio.create_task(bench.route())
    while not bench.sender.sent:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)
    for _ in range(3):
        await bench.quotas.tidy()
    gate.set()
    assert (await task).code == 550
    assert await through(bench, 3) == 1


async def test_a_reload_changes_limits_and_no_counts(make: Make) -> None:
    bench = make(**only(per_day=20))
    assert await through(bench, 10) == 10
    for limit, more in ((5, 0), (12, 2), (30, 18)):
        bench.write("config.yaml", config_text(**only(per_day=limit)))
        await bench.epochs.reload()
        for _ in range(2):
            await bench.quotas.tidy()
        assert await through(bench) == more


async def test_those_that_are_counted_as_the_same_share_a_quota(make: Make) -> None:
    bench = make()
    users = [
        user_config(email=email, **only(counted_as="one", **limits))
        for email, limits in ((USER, {"per_day": 5}), ("other", {"per_hour": 100}))
    ]
    bench.write("config.yaml", config_text(*users))
    await bench.epochs.reload()
    assert await through(bench, 3, user="other") == 3
    assert await through(bench, 10) == 2
    assert await through(bench, 3, user="other") == 0


# Clocks that are set.


def set_clock(bench: Bench, off_s: float) -> None:
    """Set the time of day; it is noticed within a second."""
    bench.clock.wall_is_off_s = off_s
    bench.clock.advance(LOOK_S)


async def test_a_clock_that_is_set_back_over_midnight_counts_on_in_the_new_day(make: Make) -> None:
    bench = make(**only(per_day=3))
    bench.clock.advance(MIDNIGHT_S - 60)
    assert await through(bench) == 3
    bench.clock.advance(120)
    assert await through(bench, 2) == 2
    set_clock(bench, -3600)
    assert await through(bench) == 1
    bench.clock.advance(3600)
    assert await through(bench) == 0


async def test_a_clock_that_is_set_forth_and_back_again_gives_nothing_twice(make: Make) -> None:
    bench = make(**only(per_day=3))
    assert await through(bench) == 3
    set_clock(bench, 40 * 24 * 3600)
    assert await through(bench) == 3
    set_clock(bench, 0)
    assert await through(bench) == 0


@pytest.mark.parametrize("off_s", [-3600, 3600])
async def test_a_clock_that_is_set_within_a_day_opens_and_closes_nothing(
    make: Make, off_s: float
) -> None:
    bench = make(**only(per_day=3, per_minute=2))
    assert await through(bench) == 2
    set_clock(bench, off_s)
    assert await through(bench) == 0
    bench.clock.advance(62)
    assert await through(bench) == 1


# A state file that fails.


async def test_while_the_file_fails_counting_goes_on_in_memory(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = make(**only(per_day=200))
    assert await through(bench, 10) == 10
    with no_file_may_grow():
        assert await through(bench, 240) == 190
    problem = records(caplog, "state file cannot be used, quotas are counted in memory")
    assert len(problem) == 1
    assert str(bench.state) in problem[0]["problem"]
    for _ in range(3):
        await bench.quotas.tidy()
    assert counted(bench) == {(f"{USER}/a", "2026-02-03"): 200}
    assert len(records(caplog, "state file works again")) == 1
    assert await through(bench) == 0


async def test_a_file_that_never_worked_lets_no_more_through_either(make: Make) -> None:
    bench = make(**only(per_day=30))
    with no_file_may_grow():
        assert await through(bench) == 30
    for _ in range(2):
        await bench.quotas.tidy()
    assert counted(bench) == {(f"{USER}/a", "2026-02-03"): 30}


async def test_in_memory_only_it_counts_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, books=BooksInMemory(), **only(per_day=30, per_month=40))
    assert await through(bench) == 30
    bench.clock.advance(24 * 3600)
    assert await through(bench) == 10
