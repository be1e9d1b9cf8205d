"""A downstream that has got what it gets is not offered: what the router makes of limits."""

import asyncio
import itertools
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Outcome, Reply
from smtp_router.core.decision import USED_UP
from tests.routing.bench import Bench, records, rest
from tests.support import (
    USER,
    Sent,
    config_text,
    deferred,
    delivered,
    in_doubt,
    make_reply,
    rejected,
    unreachable,
    user_config,
)

THINKING = """\
from smtp_router import hookimpl

@hookimpl
async def select_downstream(downstreams):
    await THINK()
    return downstreams[0]
"""


def limited(**limits: object) -> dict[str, object]:
    return {"addr": "a.example:25", "limits": limits}


def only(**limits: object) -> dict[str, Any]:
    """A configuration with a single downstream."""
    return {"downstreams": {"a": limited(**limits)}}


async def turns(count: int = 20) -> None:
    """Let everybody come as far as they can."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """A sender's step that ends when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Outcome]] = []

    async def __call__(self, _: Sent) -> Outcome:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    def let_through(self, outcome: Outcome | None = None) -> None:
        self.waiting.pop(0).set_result(outcome or delivered())


# Overflow.


async def test_what_is_over_a_limit_goes_to_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, downstreams={"a": limited(per_hour=3), "b": "b.example:25"})
    for _ in range(5):
        assert (await bench.route()).code == 250
    assert "".join(bench.sender.names) == "aaabb"
    bench.clock.advance(3700)
    await bench.route()
    assert bench.sender.names[-1] == "a"


async def test_no_more_are_under_way_at_the_same_time_than_concurrency_says(tmp_path: Path) -> None:
    gate = Gate()
    bench = Bench(
        tmp_path,
        script={"a": gate},
        downstreams={"a": limited(concurrency=2), "b": "b.example:25"},
    )
    tasks = [asyncio.create_task(bench.route()) for _ in range(5)]
    await turns()
    assert Counter(bench.sender.names) == {"a": 2, "b": 3}
    gate.let_through()
    await turns()
    tasks.append(asyncio.create_task(bench.route()))
    await turns()
    assert bench.sender.names[-1] == "a"
    while gate.waiting:
        gate.let_through()
        await turns()
    assert {reply.code for reply in await asyncio.gather(*tasks)} == {250}


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (delivered(), True),
        (in_doubt(), True),
        (unreachable(), False),
        (deferred("421 4.7.0 later"), False),
        (rejected(), False),
        (RuntimeError("a fault of our own"), False),
    ],
    ids=str,
)
async def test_only_what_was_taken_or_may_have_been_counts(
    tmp_path: Path,
    outcome: Outcome | Exception,
    counts: bool,  # noqa: FBT001 - a parameter
) -> None:
    bench = Bench(tmp_path, script={"a": [outcome, delivered()]}, **only(per_hour=1))
    await bench.route()
    assert ((await bench.route()) == USED_UP) == counts


async def test_a_plugin_that_refuses_takes_no_place(tmp_path: Path) -> None:
    refusing = """\
        from smtp_router import Defer, hookimpl

        @hookimpl
        def before_send(message):
            if message.id == "refused":
                raise Defer("not this one")
        """
    bench = Bench(tmp_path, {"refusing.py": refusing}, **only(per_hour=1, concurrency=1))
    for _ in range(3):
        assert (await bench.route(id="refused")).code == 451
    assert (await bench.route()).code == 250


async def test_a_client_that_goes_away_gives_its_place_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": [Gate(), delivered()]}, **only(per_hour=1, concurrency=1))
    task = asyncio.create_task(bench.route())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert (await bench.route()).code == 250


async def test_who_has_room_is_tried_even_if_it_rests(tmp_path: Path) -> None:
    bench = Bench(tmp_path, downstreams={"a": limited(per_hour=1), "b": "b.example:25"})
    rest(bench.user.targets["b"].gauge, now=bench.clock.now())
    for _ in range(3):
        assert (await bench.route()).code == 250
    assert "".join(bench.sender.names) == "abb"


async def test_the_time_is_shared_by_those_who_have_room(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        downstreams={"a": limited(per_hour=1), "b": "b.example:25"},
        settings={"deadline_s": 60},
    )
    for _ in range(2):
        await bench.route()
    start = bench.clock.now()
    assert [sent.until - start for sent in bench.sender.sent] == [30, 60]


async def test_who_is_faster_gets_the_last_place(tmp_path: Path) -> None:
    both_think, thoughts = asyncio.Barrier(2), itertools.count()

    async def think() -> None:
        if next(thoughts) < 2:
            await both_think.wait()

    bench = Bench(
        tmp_path,
        {"algorithm.py": THINKING},
        downstreams={"a": limited(per_hour=1), "b": "b.example:25"},
    )
    bench.globals_of("algorithm.py")["THINK"] = think
    replies = await asyncio.gather(bench.route(), bench.route())
    assert {reply.code for reply in replies} == {250}
    assert sorted(bench.sender.names) == ["a", "b"]


# Who counts together.


async def test_each_downstream_counts_for_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_hour=1))
    users = [user_config(email=email, **only(per_hour=1)) for email in (USER, "other")]
    bench.write("config.yaml", config_text(*users))
    await bench.epochs.reload()
    assert (await bench.route()).code == 250
    assert (await bench.route(user="other")).code == 250
    assert await bench.route() == USED_UP


async def test_those_that_are_counted_as_the_same_count_together(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    users = [
        user_config(email=email, **only(per_hour=count, counted_as="sendgrid"))
        for email, count in ((USER, 2), ("other", 3))
    ]
    bench.write("config.yaml", config_text(*users))
    await bench.epochs.reload()
    assert (await bench.route()).code == 250
    assert (await bench.route(user="other")).code == 250
    assert await bench.route() == USED_UP
    assert (await bench.route(user="other")).code == 250
    assert await bench.route(user="other") == USED_UP


async def test_a_reload_forgets_nothing_and_other_limits_count_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_hour=2))
    await bench.route()
    for limit, reply in ((1, USED_UP), (2, make_reply("250 2.0.0 Delivered as message-1"))):
        bench.write("config.yaml", config_text(**only(per_hour=limit)))
        await bench.epochs.reload()
        assert await bench.route() == reply


# With no room anywhere.


async def test_without_room_the_client_is_told_to_come_back_and_the_log_when(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, downstreams={"a": limited(per_minute=1), "b": limited(per_hour=1)})
    await bench.route()
    bench.clock.advance(20)
    await bench.route()
    assert (
        await bench.route()
        == USED_UP
        == make_reply("451 4.7.1 Sending limits are reached, try again later")
    )
    assert records(caplog, "limits used up") == [
        {
            "id": "message-1",
            "user": USER,
            "downstreams": ["a", "b"],
            "opens": "2026-02-03T04:06:06+00:00",
        }
    ]
    bench.clock.advance(41.1)
    assert (await bench.route()).code == 250


async def test_when_an_attempt_ends_is_not_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    bench = Bench(tmp_path, script={"a": gate}, **only(concurrency=1))
    task = asyncio.create_task(bench.route())
    await turns()
    assert await bench.route() == USED_UP
    assert records(caplog, "limits used up")[0]["opens"] is None
    gate.let_through()
    await task


async def test_after_an_attempt_its_transient_reply_is_the_answer(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        script={"a": deferred("452 4.3.1 full")},
        downstreams={"a": "a.example:25", "b": limited(per_hour=1)},
    )
    assert (await bench.route()).code == 250
    assert await bench.route() == make_reply("452 4.3.1 full")


# Waiting.


async def test_a_message_waits_until_there_is_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_minute=1, wait_s=100))
    await bench.route()
    task = asyncio.create_task(bench.route())
    await turns()
    bench.clock.advance(59)
    await turns()
    assert not task.done()
    bench.clock.advance(3)
    assert (await task).code == 250
    assert len(bench.sender.names) == 2


async def test_a_message_waits_until_another_is_done(tmp_path: Path) -> None:
    gate = Gate()
    bench = Bench(tmp_path, script={"a": gate}, **only(concurrency=1, wait_s=10))
    tasks = [asyncio.create_task(bench.route()) for _ in range(3)]
    for number in range(3):
        await turns()
        assert len(bench.sender.names) == number + 1
        gate.let_through()
    assert {reply.code for reply in await asyncio.gather(*tasks)} == {250}


async def test_a_place_that_is_given_back_is_the_next_ones(tmp_path: Path) -> None:
    gate = Gate()
    bench = Bench(
        tmp_path, script={"a": gate}, **only(per_hour=1, wait_s=5000), settings={"deadline_s": 9000}
    )
    tasks = [asyncio.create_task(bench.route()) for _ in range(2)]
    await turns()
    gate.let_through(unreachable())
    await turns()
    gate.let_through()
    assert [(await task).code for task in tasks] == [451, 250]


@pytest.mark.parametrize("limits", [{"per_hour": 1}, {"concurrency": 1}], ids=str)
async def test_nobody_waits_for_longer_than_the_limit_says(
    tmp_path: Path, limits: dict[str, int]
) -> None:
    gate = Gate()
    bench = Bench(tmp_path, script={"a": gate}, **only(**limits, wait_s=10))
    first = asyncio.create_task(bench.route())
    await turns()
    second = asyncio.create_task(bench.route())
    await turns()
    bench.clock.advance(9.9)
    await turns()
    assert second.done() == ("per_hour" in limits)  # what will not be in time is not waited for
    bench.clock.advance(0.2)
    assert await second == USED_UP
    gate.let_through()
    assert (await first).code == 250


async def test_nobody_waits_for_longer_than_the_deadline(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_minute=1, wait_s=100), settings={"deadline_s": 30})
    await bench.route()
    task = asyncio.create_task(bench.route())
    await turns()
    bench.clock.advance(30)
    assert await task == USED_UP


async def test_only_those_are_waited_for_that_allow_it(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, downstreams={"a": limited(per_minute=1), "b": limited(per_minute=1, wait_s=100)}
    )
    await bench.route()
    bench.clock.advance(30)
    await bench.route()
    task = asyncio.create_task(bench.route())
    await turns()
    bench.clock.advance(35)  # `a` has room again, and is taken when `b` has
    await turns()
    assert not task.done()
    bench.clock.advance(30)
    assert (await task).code == 250
    assert "".join(bench.sender.names) == "aba"


async def test_who_came_first_is_served_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_second=2, wait_s=100))
    replies: list[str] = []

    async def send(number: int) -> Reply:
        reply = await bench.route(id=str(number))
        replies.append(str(number))
        return reply

    tasks = [asyncio.create_task(send(number)) for number in range(6)]
    await turns()
    assert replies == ["0", "1"]
    bench.clock.advance(1.1)
    tasks.append(asyncio.create_task(send(6)))  # who comes when there is room stands in line, too
    await turns(100)
    assert replies == ["0", "1", "2", "3"]
    for _ in range(3):
        bench.clock.advance(1.1)
        await turns(100)
    assert replies == [str(number) for number in range(7)]
    await asyncio.gather(*tasks)


async def test_who_goes_away_while_waiting_leaves_the_line(tmp_path: Path) -> None:
    bench = Bench(tmp_path, **only(per_minute=1, wait_s=100))
    await bench.route()
    tasks = [asyncio.create_task(bench.route(id=str(number))) for number in range(3)]
    await turns()
    tasks[0].cancel()
    await turns()
    bench.clock.advance(62)
    assert (await tasks[1]).code == 250
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert bench.sender.sent[-1].message.id == "1"
    bench.clock.advance(62)
    assert (await bench.route()).code == 250


async def test_200_messages_pass_a_narrow_gate_one_after_the_other(tmp_path: Path) -> None:
    under_way = most = 0

    async def later(_: Sent) -> Outcome:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await turns(3)
        under_way -= 1
        return delivered()

    bench = Bench(tmp_path, script={"a": later}, **only(concurrency=3, wait_s=60))
    replies = await asyncio.gather(*(bench.route(id=str(number)) for number in range(200)))
    assert {reply.code for reply in replies} == {250}
    assert most == 3


async def test_limits_are_logged_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = {**limited(per_hour=1), "user": "apikey", "pass": "s3cret"}
    bench = Bench(tmp_path, downstreams={"a": login})
    for _ in range(2):
        await bench.route()
    assert "s3cret" not in caplog.text + repr([vars(record) for record in caplog.records])
