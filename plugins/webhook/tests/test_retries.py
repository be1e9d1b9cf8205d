"""What is sent again and when, what is not, and what counts as taken."""

import random

import pytest

from tests.receiver import Answer, Receiver, break_off, hang, hang_in_the_body, never_end, reset, status
from tests.telling import Make, VirtualClock, ids, losses, making, tell, verifies

make = pytest.fixture(making)


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
