"""What is read of how long a downstream wants to be left alone."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.hints import MAX_REST_S, rest_hint_s

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
DAY_S = 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 300 seconds", 300),
        ("Too many messages. Try again in 92 seconds.", 92),
        ("please retry after 5 minutes", 300),
        ("Retry-After: 120", 120),
        ("retry-after=90, slow down", 90),
        ("RETRY AFTER 30 SEC", 30),
        ("rate limited, wait 2 min", 120),
        ("wait 1h30m", 5400),
        ("wait 1 hour and 30 minutes", 5400),
        ("try again in 1 hour, 30 min and 10 s", 5410),
        ("try again in 1.5 minutes", 90),
        ("try again in an hour", 3600),
        ("try again in one minute", 60),
        ("come back in about a day", DAY_S),
        ("Greylisting in action, please come back in 00:05:00", 300),
        ("Please try again later in 00:05:00", 300),
        ("Greylisted for 300 seconds (see the help)", 300),
        ("quota resets in 2 hours", 7200),
        ("wait a moment; available again in 10-min", 600),
    ],
)
def test_a_length_of_time_behind_a_wish_is_read(text: str, seconds: float) -> None:
    assert rest_hint_s(text) == seconds
    assert rest_hint_s(f"4.7.1 Sorry: {text}") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("resets at 2026-11-22T19:00:00Z", 3600),
        ("resets at 2026-11-22 19:00 UTC", 3600),
        ("retry after 2026-11-22T19:00:00+00:30", 1800),
        ("try again at 20:30 UTC", 9000),
        ("try again at 17:59:30 GMT", DAY_S - 30),
        ("try again at 13:05 -05:00", 300),
    ],
)
def test_an_instant_is_read_by_a_clock_only(text: str, seconds: float) -> None:
    assert rest_hint_s(text, NOW) == seconds
    assert rest_hint_s(text, NOW.astimezone(timezone(timedelta(hours=9)))) == seconds
    assert rest_hint_s(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "try again later",
        "try again in 300",  # of what?
        "try again in 300 apples",
        "wait for 5 months",
        "wait 500ms",
        "wait as long as you like",
        "wait 1,000 seconds",
        "in 300 seconds",  # nobody asks for anything
        "retry timeout exceeded after delivery 300 seconds ago",
        "try again. 5 minutes is the usual time",
        "Retry-After: 1.2.3.4",
        "Retry-After: 12:30",
        "Retry-After: 0",
        "try again in 0 seconds",
        "try again in 12345678901 seconds",
        "try again in 00:99:00",
        "resets at 2026-11-22T17:00:00Z",  # that was an hour ago
        "resets at 2026-02-31T17:00:00Z",
        "resets at 29:00 UTC",
        "resets at 19:00",  # of which zone?
        "resets at 19:00 +99:99",
        "resets at 2026-13-01T00:00:00Z",
    ],
)
def test_what_is_no_clear_time_says_nothing(text: str) -> None:
    assert rest_hint_s(text, NOW) is None


@pytest.mark.parametrize(
    "text", ["try again in 99 days", "Retry-After: 9999999", "resets at 9999-12-31T23:59:59Z"]
)
def test_no_hint_is_longer_than_a_day(text: str) -> None:
    assert rest_hint_s(text, NOW) == MAX_REST_S == DAY_S


WORDS = """try again retry-after: retry after wait resets at in 5 300 1e9 seconds min h 00:05:00 : , ( an
    hour 19:00 UTC 2026-11-22T19:00Z 9999-12-31T23:59:59-23:59 0001-01-01T00:00+14:00 999999999999"""
TEXTS = st.text() | st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join)


@given(TEXTS, st.none() | st.datetimes(timezones=st.just(UTC)))
def test_whatever_a_reply_says_comes_out_as_a_bounded_time_or_none(
    text: str, now: datetime | None
) -> None:
    seconds = rest_hint_s(text, now)
    assert seconds is None or 0 < seconds <= MAX_REST_S


@pytest.mark.parametrize(
    "part", ["try ", "try again ", "wait=", "wait in ", "retry after 1", "1 h ", "wait 1 s and "]
)
def test_no_text_takes_long(part: str) -> None:
    text = (part * 400)[:400]
    started = time.process_time()
    rest_hint_s(text, NOW)
    assert time.process_time() - started < 0.05
