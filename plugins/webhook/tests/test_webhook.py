"""What is told of an attempt, together with which others, and at the end."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Deferred, InDoubt, Rejected, Stage
from smtp_router.testing import conformance
from smtp_router_webhook import Webhook
from smtp_router_webhook._queue import Queue
from tests.receiver import Receiver, hang, status
from tests.telling import (
    SECRET,
    TAKEN,
    Make,
    VirtualClock,
    attempt,
    block,
    ids,
    losses,
    making,
    message,
    tell,
    told,
)

make = pytest.fixture(making)

test_conformance = conformance(
    Webhook, {"url": "http://127.0.0.1:9/sesame", "secret": SECRET, "retries": 1}, secrets=["sesame"]
)


# What is told


async def test_an_attempt_is_told_with_its_envelope_and_what_became_of_it(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    (request,) = receiver.requests
    assert request.path == "/hook?token=sesame"
    assert request.fields["content-type"] == "application/json"
    assert json.loads(request.body) == {
        "type": "attempts",
        "timestamp": "2026-11-23T12:00:01.000+00:00",
        "data": [
            {
                "type": "attempt.delivered",
                "time": "2026-11-23T12:00:00.000+00:00",
                "id": "1",
                "user": "app",
                "mail_from": "a@a.example",
                "rcpt_tos": ["b@b.example", "c@c.example"],
                "size": 23,
                "downstream": "main",
                "outcome": "delivered",
                "stage": "final",
                "code": 250,
                "enhanced": "2.0.0",
                "text": "queued",
                "seconds": 0.123,
            }
        ],
    }


async def test_without_a_reply_the_reason_is_told(make: Make) -> None:
    with Receiver() as receiver:
        plugin = make(receiver.url)
        plugin.after_send(
            message(mail_from="", rcpt_tos=("\u00fc@b.example",)),
            attempt(Deferred(stage=Stage.CONNECT, reason="refused")),
        )
        await told()
    (event,) = json.loads(receiver.requests[0].body)["data"]
    told_of = {name: event[name] for name in ("outcome", "stage", "code", "enhanced", "text")}
    assert told_of == {
        "outcome": "deferred",
        "stage": "connect",
        "code": None,
        "enhanced": "",
        "text": "refused",
    }
    assert (event["mail_from"], event["rcpt_tos"]) == ("", ["\u00fc@b.example"])


async def test_only_the_outcomes_that_are_asked_for_are_told(make: Make) -> None:
    outcomes = (TAKEN, Deferred(stage=Stage.MAIL), Rejected(stage=Stage.RCPT), InDoubt())
    for wanted in (["rejected", "in_doubt"], None):
        with Receiver() as receiver:
            plugin = make(receiver.url, events=wanted)
            for outcome in outcomes:
                plugin.after_send(message(), attempt(outcome))
            await told()
        events = [event["outcome"] for event in json.loads(receiver.requests[0].body)["data"]]
        assert events == (wanted or ["delivered", "deferred", "rejected", "in_doubt"])


async def test_the_readme_shows_what_is_sent(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    sent, shown = json.loads(receiver.requests[0].body), json.loads(block("json"))
    assert list(sent) == list(shown)
    assert list(sent["data"][0]) == list(shown["data"][0])


async def test_nothing_of_the_content_is_told(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    assert b"private" not in receiver.requests[0].body


# Batches


async def test_events_that_come_together_are_told_together_in_their_order(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url, batch=4), *range(10))
    assert [ids(request) for request in receiver.requests] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert {request.connection for request in receiver.requests} == {1}
    assert len({request.fields["webhook-id"] for request in receiver.requests}) == 3


async def test_a_full_batch_waits_no_longer(make: Make) -> None:
    clock = VirtualClock(stopped=True)
    with Receiver() as receiver:
        plugin = make(receiver.url, clock, batch=3, batch_s=7)
        plugin.after_send(message(0), attempt())
        await clock.asked(1)
        assert clock.slept == [7]
        plugin.after_send(message(1), attempt())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not receiver.requests
        plugin.after_send(message(2), attempt())
        await told()
    assert [ids(request) for request in receiver.requests] == [[0, 1, 2]]


async def test_a_request_has_a_quarter_of_a_megabyte_at_most_or_one_event(make: Make) -> None:
    many = tuple(f"{number}@{'x' * 60}.example" for number in range(2000))
    with Receiver() as receiver:
        plugin = make(receiver.url)
        for number, recipients in enumerate([many, many, (*many, *many, *many), ("b@b.example",)]):
            plugin.after_send(message(number, rcpt_tos=recipients), attempt())
        await told()
    assert [ids(request) for request in receiver.requests] == [[0], [1], [2], [3]]


@given(
    sizes=st.lists(st.integers(0, 300), max_size=60), count=st.integers(1, 9), most=st.integers(1, 500)
)
def test_a_queue_gives_what_it_took_in_order_and_within_bounds(
    sizes: list[int], count: int, most: int
) -> None:
    queue = Queue(5000)
    events = [bytes([number]) * size for number, size in enumerate(sizes)]
    kept = [event for event in events if queue.put(event)]
    assert sum(len(event) + 64 for event in kept) <= 5000
    given_away = []
    while batch := queue.take(count, most):
        assert len(batch) <= count
        assert len(batch) == 1 or sum(map(len, batch)) <= most
        given_away += batch
    assert given_away == kept
    assert queue.put(bytes(4936)) is True
    assert queue.put(b"") is False


# The end


async def test_the_end_tells_what_waits(make: Make) -> None:
    clock = VirtualClock(stopped=True)
    with Receiver() as receiver:
        plugin = make(receiver.url, clock, batch=2)
        for number in range(5):
            plugin.after_send(message(number), attempt())
        await asyncio.sleep(0)
        await plugin.close()
    assert [ids(request) for request in receiver.requests] == [[0, 1], [2, 3], [4]]
    assert not {task.get_name() for task in asyncio.all_tasks()} & {"webhook"}


async def test_at_the_end_there_is_one_more_try_and_no_waiting(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    clock = VirtualClock(stopped=True)
    with Receiver(*[status(500)] * 9) as receiver:
        plugin = make(receiver.url, clock, batch=2)
        for number in range(4):
            plugin.after_send(message(number), attempt())
        await clock.asked(1)
        await plugin.close()
    assert [ids(request) for request in receiver.requests] == [[0, 1], [0, 1]]
    assert sum(count for count, _ in losses(caplog)) == 4


async def test_an_end_that_takes_too_long_is_cut_off(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    with Receiver(hang) as receiver:
        plugin = make(receiver.url, batch=2, timeout_s=60)
        for number in range(3):
            plugin.after_send(message(number), attempt())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await plugin.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert sum(count for count, _ in losses(caplog)) == 3


async def test_the_end_of_one_that_had_nothing_to_tell(make: Make) -> None:
    await make("https://a.example/").close()
