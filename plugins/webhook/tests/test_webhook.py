import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import random
import re
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import (
    Attempt,
    Deferred,
    Delivered,
    Downstream,
    InDoubt,
    Message,
    Rejected,
    Reply,
    Stage,
)
from smtp_router.testing import conformance
from smtp_router_webhook import Webhook
from smtp_router_webhook._queue import Queue
from smtp_router_webhook._signature import Signer
from tests.receiver import (
    Answer,
    Receiver,
    Taken,
    break_off,
    hang,
    hang_in_the_body,
    never_end,
    reset,
    status,
)

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
MAIN = Downstream(name="main", host="127.0.0.1", port=25)
TAKEN = Delivered(reply=Reply(code=250, enhanced="2.0.0", text="queued"))


class VirtualClock:
    """Time that passes at once when somebody sleeps; or, stopped, when a test says so."""

    def __init__(self, *, stopped: bool = False) -> None:
        self.slept: list[float] = []
        self.passed = 0.0
        self._asked = asyncio.Event()
        self._going = asyncio.Event()
        if not stopped:
            self._going.set()

    def now(self) -> float:
        return self.passed

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asked.set()
        await self._going.wait()
        self.passed += seconds

    async def asked(self, times: int) -> None:
        """Wait until somebody has begun to sleep, for this time."""
        while len(self.slept) < times:
            self._asked.clear()
            await self._asked.wait()


def message(number: int = 1, **more: Any) -> Message:  # noqa: ANN401 - fields of a message
    fields = {"mail_from": "a@a.example", "rcpt_tos": ("b@b.example", "c@c.example"), **more}
    return Message(
        id=str(number), user="app", content=b"Subject: private\r\n\r\nx\r\n", received_at=START, **fields
    )


def attempt(outcome: Delivered | Deferred | Rejected | InDoubt = TAKEN) -> Attempt:
    return Attempt(downstream=MAIN, outcome=outcome, seconds=0.12345)


Make = Callable[..., Webhook]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes plugins, and closes them at the end of the test."""
    made: list[Webhook] = []

    def make(url: object, clock: VirtualClock | None = None, **options: Any) -> Webhook:  # noqa: ANN401
        rng = random.Random(1)  # noqa: S311 - spreads retries
        given = {"url": url, "secret": SECRET, "rng": rng, **options}
        made.append(Webhook(clock=clock or VirtualClock(), **given))
        return made[-1]

    yield make
    for plugin in made:
        await plugin.close()


async def tell(plugin: Webhook, *numbers: int) -> None:
    """Events, one after the other; then wait until all are told or given up."""
    for number in numbers:
        plugin.after_send(message(number), attempt())
    await told()


async def told() -> None:
    while workers := [task for task in asyncio.all_tasks() if task.get_name() == "webhook"]:
        await asyncio.wait(workers)


def ids(request: Taken) -> list[int]:
    return [int(event["id"]) for event in json.loads(request.body)["data"]]


def verifies(request: Taken, key: bytes = KEY) -> bool:
    """By the letter of the specification, in other words than the plugin's."""
    text = (
        f"{request.fields['webhook-id']}.{request.fields['webhook-timestamp']}.{request.body.decode()}"
    )
    wanted = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in request.fields["webhook-signature"].split(" ")


def losses(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    records = [record for record in caplog.records if record.message == "webhook lost events"]
    fields: list[dict[str, Any]] = [vars(record)["fields"] for record in records]
    return [(one["events"], one["why"]) for one in fields]


def block(language: str) -> str:
    """The first one in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]  # type: ignore[no-any-return]


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


# Signatures


def test_the_signature_is_the_one_of_the_specification() -> None:
    fields = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").fields(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert fields == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_a_request_verifies_and_a_changed_one_does_not(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    (request,) = receiver.requests
    assert verifies(request)
    assert not verifies(request._replace(body=request.body.replace(b"250", b"550")))
    assert not verifies(request, bytes(32))


async def test_of_several_secrets_each_verifies(make: Make) -> None:
    other = bytes(24)
    with Receiver() as receiver:
        secrets = [SECRET, f"whsec_{base64.b64encode(other).decode()}"]
        await tell(make(receiver.url, secret=secrets), 1)
    assert verifies(receiver.requests[0])
    assert verifies(receiver.requests[0], other)


async def test_the_readme_verifies_what_is_sent(make: Make) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "README.md", "exec"), names)  # noqa: S102 - that is the test
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    (request,) = receiver.requests
    sent = int(request.fields["webhook-timestamp"])
    names["time"] = SimpleNamespace(time=lambda: sent + 299)
    assert names["verify"](SECRET, request.fields, request.body)
    assert not names["verify"](SECRET, request.fields, request.body + b" ")
    assert not names["verify"](SECRET, {**request.fields, "webhook-id": "x"}, request.body)
    assert not names["verify"](SECRET, {}, request.body)
    for late in (-301, 301):
        names["time"] = SimpleNamespace(time=lambda late=late: sent + late)
        assert not names["verify"](SECRET, request.fields, request.body)


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


# Retries


@pytest.mark.parametrize(
    "answers",
    [
        [status(500)],
        [status(408), status(429), status(503)],
        [reset],
        [lambda sink: sink.connection.sendall(b"220 smtp.example ESMTP\r\n\r\n")],
        [break_off],
    ],
    ids=["500", "408 429 503", "reset", "no HTTP", "half an answer"],
)
async def test_what_may_be_taken_later_is_sent_again_as_it_was(
    answers: list[Answer], make: Make
) -> None:
    with Receiver(*answers) as receiver:
        clock = VirtualClock()
        await tell(make(receiver.url, clock, backoff_s=10), 1, 2)
    requests = receiver.requests
    assert len(requests) == len(answers) + 1
    assert len({(request.body, request.fields["webhook-id"]) for request in requests}) == 1
    stamps = [int(request.fields["webhook-timestamp"]) for request in requests]
    assert stamps == sorted(set(stamps))
    assert all(map(verifies, requests))


async def test_the_time_between_two_tries_doubles_and_a_part_of_it_is_random(make: Make) -> None:
    async def waits(seed: int) -> list[float]:
        clock = VirtualClock()
        rng = random.Random(seed)  # noqa: S311 - spreads retries
        with Receiver(*[status(500)] * 8) as receiver:
            plugin = make(receiver.url, clock, rng=rng, backoff_s=2, max_backoff_s=60)
            await tell(plugin, 1)
        return clock.slept[1:]

    first, second = [await waits(seed) for seed in (1, 2)]
    for most, *found in zip([2, 4, 8, 16, 32, 60, 60, 60], first, second, strict=True):
        assert all(most / 2 <= one <= most for one in found)
    assert first != second


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("Mon, 23 Nov 2026 12:02:01 GMT", 120),
        ("0", 0),
        ("999999999999999999", 3600),
        ("Mon, 23 Nov 2020 12:00:00 GMT", 0),
        ("soon", 0),
        ("-5", 0),
    ],
)
async def test_who_says_when_to_come_again_is_not_asked_before(
    value: str, seconds: float, make: Make
) -> None:
    clock = VirtualClock()
    with Receiver(status(429, f"Retry-After: {value}")) as receiver:
        await tell(make(receiver.url, clock, batch_s=1), 1)
    assert len(receiver.requests) == 2
    assert clock.slept[1] == (seconds or pytest.approx(0.75, abs=0.25))


@pytest.mark.parametrize("code", [301, 400, 401, 404, 410, 413])
async def test_what_is_refused_for_good_is_not_sent_again(
    code: int, caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    with Receiver(status(code, "Location: /other")) as receiver:
        plugin = make(receiver.url, batch=2)
        await tell(plugin, 1, 2, 3)
    assert [ids(request) for request in receiver.requests] == [[1, 2], [3]]
    assert losses(caplog) == [(2, f"answered {code}")]


async def test_after_the_last_retry_the_next_batch_has_its_turn(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    with Receiver(*[status(500)] * 3) as receiver:
        await tell(make(receiver.url, batch=1, retries=2), 1, 2)
    assert [ids(request) for request in receiver.requests] == [[1], [1], [1], [2]]
    assert losses(caplog) == [(1, "answered 500")]


async def test_what_does_not_answer_in_time_is_asked_again(make: Make) -> None:
    with Receiver(hang) as receiver:
        await tell(make(receiver.url, timeout_s=0.2), 1)
    assert [ids(request) for request in receiver.requests] == [[1], [1]]


async def test_nobody_there_is_tried_again(caplog: pytest.LogCaptureFixture, make: Make) -> None:
    with Receiver() as receiver:
        url = receiver.url
    await tell(make(url, retries=1), 1)
    assert losses(caplog) == [(1, "ConnectError")]


@pytest.mark.parametrize(("answer", "timeout_s"), [(hang_in_the_body, 0.3), (never_end, 600)])
async def test_a_good_answer_counts_whatever_follows_it(
    answer: Answer, timeout_s: float, make: Make
) -> None:
    with Receiver(answer) as receiver:
        await tell(make(receiver.url, batch=1, timeout_s=timeout_s), 1, 2)
    assert [ids(request) for request in receiver.requests] == [[1], [2]]
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_cookies_are_not_kept(make: Make) -> None:
    with Receiver(status(200, "Set-Cookie: a=b; Path=/")) as receiver:
        await tell(make(receiver.url, batch=1), 1, 2)
    assert "cookie" not in receiver.requests[1].fields


# Bounds


async def test_while_nobody_answers_memory_is_bounded_and_losses_are_logged_once_a_second(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    clock = VirtualClock()
    octets = 1024 * 1024
    with Receiver(hang) as receiver:
        plugin = make(receiver.url, clock, max_queue_bytes=octets)
        plugin.after_send(message(0), attempt())
        await asyncio.to_thread(receiver.wait)
        tracemalloc.start()
        try:
            for number in range(1, 20_001):
                clock.passed += 0.001
                plugin.after_send(message(number), attempt())
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        logged = losses(caplog)
        receiver.release()
        await told()
    assert size < 1.2 * octets
    told_of = [number for request in receiver.requests[1:] for number in ids(request)]
    assert told_of[-1] == len(told_of) - 1  # what was there first, without a gap
    assert len(told_of) * 64 < octets
    assert {why for _, why in logged} == {"the queue is full"}
    assert len(logged) == pytest.approx((20_000 - len(told_of)) / 1000, abs=2)
    everything = sum(count for count, _ in losses(caplog))
    assert everything + len(told_of) == pytest.approx(20_001, abs=1000)


async def test_a_hook_costs_microseconds_and_starts_one_task(make: Make) -> None:
    with Receiver(hang) as receiver:
        plugin = make(receiver.url)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(1000):
            plugin.after_send(message(number), attempt())
        assert loop.time() - started < 0.5
        await asyncio.sleep(0)
        assert [task.get_name() for task in asyncio.all_tasks()].count("webhook") == 1
        receiver.release()
        await told()


async def test_what_holds_for_one_message_does_not_hold_for_the_next_ones(make: Make) -> None:
    current = ContextVar("current", default="none")
    seen = []

    class Clock(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            seen.append(current.get())
            await super().sleep(seconds)

    with Receiver() as receiver:
        plugin = make(receiver.url, Clock())
        current.set("this message")
        await tell(plugin, 1)
    assert seen == ["none"]


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


# Configuration


def test_the_readmes_configuration_is_right(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block("yaml"), "utf-8")
    environment = {**os.environ, "APP_PASSWORD": "open", "WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "smtp_router", "check", "-c", str(tmp_path / "config.yaml")]
    checked = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
    assert SECRET not in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "a.example"}, "url: is no URL"),
        ({"url": "https:///x"}, "url: is no URL"),
        ({"url": 1}, "url: is no URL"),
        ({"url": "https://a b/"}, "url: is no URL"),
        ({"url": "ftp://a.example/"}, "url: is no URL"),
        ({"url": "http://a.example/"}, "url: http shows the mail's envelopes"),
        ({"url": "http://127.0.0.1.example/"}, "url: http shows the mail's envelopes"),
        ({"url": "https://u:sesame@a.example/"}, "url: a login in it"),
        ({"allow_http": "yes"}, "allow_http: true or false, not 'yes'"),
        ({"secret": "sesame"}, "secret: whsec_ and Base64 of 24 to 64 octets"),
        ({"secret": "whsec_sesame"}, "secret: whsec_ and Base64"),
        ({"secret": f"whsec_{base64.b64encode(bytes(23)).decode()}"}, "secret: whsec_"),
        ({"secret": f"whsec_{base64.b64encode(bytes(65)).decode()}"}, "secret: whsec_"),
        ({"secret": []}, "secret: none is given"),
        ({"secret": [SECRET, 1]}, "secret.1: whsec_"),
        ({"events": "delivered"}, "events: a list of any of delivered, deferred, rejected, in_doubt"),
        ({"events": []}, "events: a list of any of"),
        ({"events": ["bounced"]}, "events: a list of any of"),
        ({"events": [["delivered"]]}, "events: a list of any of"),
        ({"batch": 0}, "batch: a whole number from 1 to 10000, not 0"),
        ({"batch": True}, "batch: a whole number"),
        ({"batch_s": -1}, "batch_s: a number from 0 to 3600, not -1"),
        ({"timeout_s": float("nan")}, "timeout_s: a number from 0.1 to 600, not nan"),
        ({"timeout_s": "1"}, "timeout_s: a number from 0.1 to 600, not '1'"),
        ({"retries": 1.5}, "retries: a whole number from 0 to 1000, not 1.5"),
        ({"backoff_s": 0}, "backoff_s: a number from 0.1 to 3600, not 0"),
        ({"max_backoff_s": 0.5}, "max_backoff_s: a number from 1 to 86400, not 0.5"),
        ({"max_queue_bytes": 5}, "max_queue_bytes: a whole number from 65536 to"),
        ({"ca_file": "ca.pem"}, "ca_file: an absolute path, not 'ca.pem'"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file: No such file or directory"),
        ({"ca_file": __file__}, "ca_file: has no certificate"),
    ],
)
async def test_wrong_options_are_refused_by_name_and_without_a_secret(
    options: dict[str, object], says: str, make: Make
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}") as refused:
        make(**{"url": "https://a.example/", **options})
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.9.9.9", "[::1]:80", "localhost"])
async def test_http_is_for_this_machine_or_for_who_allows_it(host: str, make: Make) -> None:
    make(f"http://{host}/")
    make("http://a.example/", allow_http=True)


async def test_https_trusts_the_authorities_of_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        await tell(make(receiver.url, ca_file=str(tmp_path / "ca.pem")), 1)
        assert [ids(request) for request in receiver.requests] == [[1]]
        await tell(make(receiver.url, retries=0), 2)
        assert len(receiver.requests) == 1
    assert losses(caplog) == [(1, "ConnectError")]


async def test_neither_secret_nor_path_is_in_a_repr_or_in_the_log(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(status(500), reset, status(400)) as receiver:
        plugin = make(receiver.url)
        await tell(plugin, 1)
        await plugin.close()
    seen = repr(plugin) + "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "webhook failed" in seen
    assert f"http://127.0.0.1:{receiver.port}" in seen
    for hidden in ("sesame", "/hook", SECRET, SECRET[6:], "v1,"):
        assert hidden not in seen
