"""Connections of a modelled downstream: as many as the real pool would have, and no ghosts."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Outcome
from smtp_router.config.behaviour import Behaviour
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.simulation.clock import START, LoopClock
from smtp_router.simulation.loop import VirtualLoop
from smtp_router.simulation.outages import OutageWatches
from smtp_router.simulation.sender import ModelledSender
from tests.support import config_text, make_message

Send = Callable[[int], Coroutine[Any, Any, tuple[float, Outcome]]]


def settings(**pool: int) -> Settings:
    text = config_text(downstreams={"a": {"addr": "a.example:25", "pool": pool}})
    return parse(text.encode(), Path("/nowhere/config.yaml")).settings


def simulate(
    behaviour: dict[str, Any],
    main: Callable[[LoopClock, Send], Coroutine[Any, Any, Any]],
    *,
    until_s: float = 1000.0,
    **pool: int,
) -> Any:  # noqa: ANN401 - whatever it comes to
    """Run with a sender to `a`, which takes 2 s to connect and 10 s for a message."""
    known = settings(**pool)
    modelled = Behaviour.model_validate({"latency": 10, "connect": 2, **behaviour})

    async def go() -> Any:  # noqa: ANN401 - as above
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = LoopClock(loop, START)
        sender = ModelledSender({"a": modelled}, clock, 1, OutageWatches([]))

        async def send(number: int) -> tuple[float, Outcome]:
            now = clock.now()
            outcome = await sender.send(
                make_message(id=str(number)),
                known.users[0].downstreams[0],
                known,
                until=now + until_s,
                deadline=now + 2 * until_s,
                on_final=lambda: None,
            )
            return clock.now(), outcome

        return await main(clock, send)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(go())


async def at_once(_: LoopClock, send: Send) -> list[tuple[float, str]]:
    found = await asyncio.gather(*map(send, range(4)))
    return [(ended, str(outcome)) for ended, outcome in found]


TAKEN = "delivered at final: 250 2.0.0 Taken"


def test_a_connection_is_opened_once_and_used_again() -> None:
    async def one_by_one(_: LoopClock, send: Send) -> list[float]:
        return [(await send(number))[0] for number in range(3)]

    assert simulate({}, one_by_one) == [12, 22, 32]
    assert simulate({}, one_by_one, max_messages_per_connection=1) == [12, 24, 36]
    assert simulate({}, one_by_one, max_messages_per_connection=2) == [12, 22, 34]


def test_who_finds_all_connections_busy_waits_for_one() -> None:
    assert simulate({}, at_once) == [(12, TAKEN)] * 4
    assert simulate({}, at_once, max_connections=2) == [(12, TAKEN)] * 2 + [(22, TAKEN)] * 2
    assert simulate({}, at_once, max_connections=1) == [(end, TAKEN) for end in (12, 22, 32, 42)]


def test_who_waits_in_vain_is_deferred_with_the_real_senders_words() -> None:
    found = simulate({}, at_once, max_connections=1, until_s=25.0)
    assert found[:2] == [(12, TAKEN), (22, TAKEN)]
    why = "deferred at connect: no connection became free: max_connections is 1"
    assert found[3] == (25, why)


def test_all_who_wait_hear_at_once_that_nobody_answers() -> None:
    outage = {"outages": [{"from": 0, "to": 100}]}
    found = simulate(outage, at_once, max_connections=1)
    assert found == [(2, "deferred at connect: connection refused")] * 4


def test_a_refusal_in_words_is_heard_by_each_for_itself() -> None:
    outage = {"outages": [{"from": 0, "to": 100, "how": 421}]}
    found = simulate(outage, at_once, max_connections=1)
    assert found == [(end, "deferred at connect: 421") for end in (2, 4, 6, 8)]


@pytest.mark.parametrize(("pause_s", "takes_s"), [(5, 10), (200, 12)])
def test_what_was_idle_during_an_outage_is_lost_and_opened_anew(pause_s: float, takes_s: float) -> None:
    async def before_and_after(clock: LoopClock, send: Send) -> float:
        await send(1)
        await clock.sleep(pause_s)
        began = clock.now()
        ended, outcome = await send(2)
        assert str(outcome) == TAKEN
        return ended - began

    outage = {"outages": [{"from": 100, "to": 150}]}
    assert simulate(outage, before_and_after, idle_s=1000) == takes_s
