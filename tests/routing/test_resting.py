"""A downstream that fails is rested, and tried again: what the router makes of it."""

import asyncio
import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Deferred, Health, HealthState, Outcome, Stage
from smtp_router.core.breaker import Rules
from tests.routing.bench import THREE, Bench, records
from tests.support import (
    USER,
    Sent,
    Step,
    config_text,
    deferred,
    delivered,
    make_reply,
    rejected,
    unreachable,
    user_config,
)

RULES = Rules()
QUOTA = make_reply("452 4.7.1 Account has used up its quota")

NOTING = """\
from smtp_router import hookimpl

SEEN = []

@hookimpl
def select_downstream(downstreams):
    SEEN.append("".join(downstream.name for downstream in downstreams))
    return downstreams[0]
"""

THINKING = """\
from smtp_router import hookimpl

@hookimpl
async def select_downstream(downstreams):
    await THINK()
    return downstreams[0]
"""


async def rested(bench: Bench, name: str = "a") -> None:
    """Have messages fail at a downstream until it rests."""
    for _ in range(RULES.failures):
        await bench.route()
    assert bench.health(name).state is HealthState.OPEN
    bench.sender.sent.clear()


async def test_a_downstream_that_fails_is_not_offered_while_others_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()})
    for _ in range(RULES.failures + 2):
        assert (await bench.route()).code == 250
    assert "".join(bench.sender.names) == "ab" * RULES.failures + "bb"


@pytest.mark.parametrize("own", [rejected(), deferred("450 4.2.0 greylisted")], ids=str)
async def test_messages_that_are_refused_let_nobody_rest(tmp_path: Path, own: Outcome) -> None:
    bench = Bench(tmp_path, script={"a": own})
    for _ in range(20):
        await bench.route()
    assert bench.sender.names.count("a") == 20


async def test_one_that_works_again_gets_its_turn_back(tmp_path: Path) -> None:
    script: dict[str, Any] = {"a": [unreachable()] * RULES.failures + [delivered()]}
    bench = Bench(tmp_path, script=script)
    await rested(bench)
    await bench.route()
    bench.clock.advance(RULES.rest_s)
    for _ in range(6):
        await bench.route()
    assert "".join(bench.sender.names) == "b" + "a" * 6
    assert bench.health("a").state is HealthState.CLOSED


async def test_a_failed_trial_costs_one_message_one_attempt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()})
    await rested(bench)
    tried = []
    for _ in range(100):
        bench.clock.advance(1.0)
        bench.sender.sent.clear()
        assert (await bench.route()).code == 250
        tried.append("a" in bench.sender.names)
    assert [second for second, was in enumerate(tried, start=1) if was] == [5, 15, 35, 75]


async def test_if_all_rest_they_are_tried_all_the_same_the_least_recently_failed_first(
    tmp_path: Path,
) -> None:
    script = {name: unreachable() for name in "abc"}
    bench = Bench(tmp_path, {"algorithm.py": NOTING}, script=script, downstreams=THREE)
    for name in "abc":
        bench.sender.sent.clear()
        bench.clock.advance(0.1)
        await rested(bench, name)
    bench.seen("algorithm.py").clear()
    reply = await bench.route()
    assert reply.code == 451
    assert bench.sender.names == ["a", "b", "c"]
    assert bench.seen("algorithm.py") == ["abc", "bc", "c"]
    bench.sender.sent.clear()
    bench.clock.advance(0.1)
    await bench.route()
    assert len(bench.sender.names) == 3


async def test_only_one_that_rests_is_tried_for_every_message(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()}, downstreams={"a": "a.example:25"})
    await rested(bench)
    for _ in range(5):
        await bench.route()
    assert bench.sender.names == ["a"] * 5


async def test_those_that_rest_are_offered_when_all_others_were_tried(tmp_path: Path) -> None:
    script: dict[str, Any] = {"a": [*[unreachable()] * RULES.failures, delivered()]}
    script["b"] = [*[delivered()] * RULES.failures, unreachable()]
    bench = Bench(tmp_path, script=script)
    await rested(bench)
    assert (await bench.route()).code == 250
    assert bench.sender.names == ["b", "a"]


async def test_after_a_rest_one_message_at_a_time_is_let_through(tmp_path: Path) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(_: Sent) -> Outcome:
        await gate
        return delivered()

    script: dict[str, Any] = {"a": [*[unreachable()] * RULES.failures, wait]}
    bench = Bench(tmp_path, script=script)
    await rested(bench)
    bench.clock.advance(RULES.rest_s)
    tasks = [asyncio.create_task(bench.route()) for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(bench.sender.names) == ["a", "b", "b", "b", "b"]
    gate.set_result(None)
    await asyncio.gather(*tasks)


async def test_the_slot_of_one_that_has_rested_goes_to_one_of_those_who_were_offered_it(
    tmp_path: Path,
) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(_: Sent) -> Outcome:
        await gate
        return delivered()

    script: dict[str, Any] = {"a": [*[unreachable()] * RULES.failures, wait]}
    bench = Bench(tmp_path, {"algorithm.py": THINKING}, script=script)
    both_think = asyncio.Barrier(2)
    thoughts = itertools.count(-2 * RULES.failures)  # so many times, until `a` rests

    async def think() -> None:
        if next(thoughts) in (0, 1):
            await both_think.wait()

    bench.globals_of("algorithm.py")["THINK"] = think
    await rested(bench)
    bench.clock.advance(RULES.rest_s)
    tasks = [asyncio.create_task(bench.route()) for _ in range(2)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result().code for task in done] == [250]
    assert bench.sender.names == ["a", "b"]
    gate.set_result(None)
    assert [(await task).code for task in tasks] == [250, 250]


async def test_if_all_rest_one_is_tried_however_long_the_choice_takes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"algorithm.py": THINKING}, script={"a": unreachable(), "b": unreachable()})
    bench.globals_of("algorithm.py")["THINK"] = lambda: asyncio.sleep(0)
    await rested(bench)
    assert (await bench.route()).enhanced == "4.4.1"
    assert bench.sender.names == ["a", "b"]


async def test_a_reload_changes_nothing_about_who_rests(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()}, algorithm="./algorithm.py")
    await rested(bench)
    bench.write("config.yaml", config_text(settings={"deadline_s": 9}))
    await bench.epochs.reload()
    await bench.route()
    assert bench.sender.names == ["b"]


async def test_other_rules_count_from_a_reload_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()})
    await bench.route()
    bench.write("config.yaml", config_text(settings={"health": {"failures": 2, "rest_s": 60}}))
    await bench.epochs.reload()
    await bench.route()
    bench.clock.advance(59)
    assert bench.health("a").state is HealthState.OPEN


async def test_a_server_that_is_down_rests_for_all_users_and_a_bad_login_for_one(tmp_path: Path) -> None:
    def login(password: str) -> dict[str, object]:
        return {"addr": "a.example:25", "user": "apikey", "pass": password}

    bench = Bench(tmp_path, script={"a": unreachable()})
    users = [
        user_config(email=email, downstreams={"a": login(password), "b": "b.example:25"})
        for email, password in ((USER, "one"), ("other", "two"))
    ]
    bench.write("config.yaml", config_text(*users))
    await bench.epochs.reload()
    await rested(bench)
    await bench.route(user="other")
    assert bench.sender.names == ["b"]


async def test_a_client_that_goes_away_says_nothing_about_a_downstream(tmp_path: Path) -> None:
    async def hang(_: Sent) -> Outcome:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    bench = Bench(tmp_path, script={"a": hang})
    for _ in range(10):
        task = asyncio.create_task(bench.route())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    health = bench.health("a")
    assert (health.state, health.failed, health.in_flight) == (HealthState.CLOSED, 0, 0)
    assert len(bench.sender.names) == 10


# A rest that a reply has asked for.


def asking(seconds: float, *, neutral: bool = True) -> Outcome:
    """What becomes of a message when a rule, or the reply itself, lets the downstream rest."""
    return Deferred(stage=Stage.FINAL, reply=QUOTA, rest_s=seconds, neutral=neutral)


def two_users() -> str:
    """Both with the same two downstreams, and the same login there."""
    return config_text(*(user_config(email=email) for email in (USER, "other")))


async def test_who_asks_for_a_rest_gets_it_at_once_and_for_so_long(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": [asking(3600), delivered()]})
    for _ in range(3):
        assert (await bench.route()).code == 250
    bench.clock.advance(3599)
    await bench.route()
    assert bench.health("a").state is HealthState.OPEN
    bench.clock.advance(1)
    await bench.route()
    assert "".join(bench.sender.names) == "ab" + "bbb" + "a"
    assert bench.health("a") == replace(Health(), delivered=1)


async def test_it_is_for_one_users_mail(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": [asking(3600), delivered()]})
    bench.write("config.yaml", two_users())
    await bench.epochs.reload()
    await bench.route()
    await bench.route(user="other")
    await bench.route()
    assert "".join(bench.sender.names) == "ab" + "a" + "b"


async def test_a_reload_does_not_end_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": asking(3600)})
    await bench.route()
    bench.write("config.yaml", config_text(settings={"deadline_s": 9}))
    await bench.epochs.reload()
    bench.sender.sent.clear()
    await bench.route()
    assert bench.sender.names == ["b"]


async def test_if_all_rest_who_asked_for_it_is_tried_all_the_same_and_a_delivery_ends_it(
    tmp_path: Path,
) -> None:
    bench = Bench(
        tmp_path,
        script={"a": [asking(3600), delivered()]},
        downstreams={"a": "a.example:25"},
    )
    assert [(await bench.route()).code for _ in range(3)] == [452, 250, 250]
    assert bench.health("a").state is HealthState.CLOSED


async def test_one_that_was_sent_before_does_not_end_it(tmp_path: Path) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def late(_: Sent) -> Outcome:
        await gate
        return delivered()

    bench = Bench(tmp_path, script={"a": [late, asking(3600)]})
    early = asyncio.create_task(bench.route())
    await asyncio.sleep(0)
    bench.clock.advance(1)
    await bench.route()
    gate.set_result(None)
    assert (await early).code == 250
    await bench.route()
    assert "".join(bench.sender.names) == "a" + "ab" + "b"


async def test_a_shorter_rest_does_not_shorten_a_longer_one(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        script={"a": [asking(3600), asking(10), delivered()], "b": unreachable()},
    )
    for _ in range(2):
        await bench.route()
    bench.clock.advance(60)
    assert bench.health("a").state is HealthState.OPEN


async def test_a_rest_that_counts_against_health_does_both(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": asking(1, neutral=False)})
    for _ in range(RULES.failures):
        await bench.route()
        bench.clock.advance(1)
    assert bench.health("a").failed == RULES.failures
    assert not bench.user.targets["a"].rest.until > bench.clock.now()
    bench.clock.advance(60)
    assert (await bench.route()).code == 250


async def test_a_rest_that_was_asked_for_is_logged_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script: dict[str, Any] = {"a": [asking(60), asking(60), delivered()], "b": unreachable()}
    bench = Bench(tmp_path, script=script)
    for _ in range(2):
        await bench.route()
    (rests,) = records(caplog, "downstream rests")
    assert (rests["whose"], rests["seconds"], rests["until"]) == (
        "user",
        60.0,
        "2026-02-03T04:06:06+00:00",
    )
    bench.clock.advance(60)
    for _ in range(2):
        await bench.route()
    (back,) = records(caplog, "downstream is back")
    assert (back["downstream"], back["whose"]) == ("a", "user")


# The log.


async def test_a_rest_and_its_end_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script: dict[str, Step | list[Step]] = {"a": [*[unreachable()] * RULES.failures, delivered()]}
    bench = Bench(tmp_path, script=script)
    await rested(bench)
    for _ in range(3):
        await bench.route()
    common = {"user": USER, "downstream": "a", "server": "a.example:25", "whose": "server"}
    assert records(caplog, "downstream rests") == [
        {
            **common,
            "seconds": 5.0,
            "until": "2026-02-03T04:05:11+00:00",
            "reason": "deferred at connect: gone",
        }
    ]
    assert records(caplog, "downstream is back") == []
    bench.clock.advance(RULES.rest_s)
    for _ in range(3):
        await bench.route()
    assert records(caplog, "downstream is back") == [common]
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels["downstream rests"] == "WARNING"
    assert levels["downstream is back"] == "INFO"
