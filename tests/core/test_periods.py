"""Days and months by a clock that somebody may set."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.periods import SET_BACK, Calendar, Kind

instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants it so


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        ("2026-08-01 00:00", "2026-08-01", "2026-08"),
        ("2026-08-31 23:59:59.999999", "2026-08-31", "2026-08"),
        ("2028-02-29 12:00", "2028-02-29", "2028-02"),
    ],
)
def test_a_period_is_called_by_its_date_in_utc(now: str, day: str, month: str) -> None:
    calendar = Calendar()
    assert calendar.label(Kind.DAY, at(now)) == day
    assert calendar.label(Kind.MONTH, at(now)) == month


@given(instants, st.sampled_from(Kind))
def test_a_period_ends_when_it_says(now: datetime, kind: Kind) -> None:
    label = Calendar().label(kind, now)
    left = timedelta(seconds=Calendar().seconds_left(kind, now))
    assert timedelta(0) < left <= timedelta(days=1 if kind is Kind.DAY else 31)
    assert Calendar().label(kind, now + left - timedelta(milliseconds=1)) == label
    assert Calendar().label(kind, now + left) > label


@given(st.lists(st.tuples(instants, st.floats(-7199, 7199)), max_size=20), st.sampled_from(Kind))
def test_a_clock_that_is_set_back_a_little_brings_no_period_back(
    steps: list[tuple[datetime, float]], kind: Kind
) -> None:
    calendar, now, labels = Calendar(), at("2026-08-01 12:00"), []
    for step, off_s in steps:
        now += (step - step.replace(hour=0, minute=0, second=0, microsecond=0)) / 4
        labels.append(calendar.label(kind, now))
        labels.append(calendar.label(kind, now + timedelta(seconds=min(off_s, 0))))
    assert labels == sorted(labels)


def test_until_it_has_caught_up_the_next_period_is_further_away() -> None:
    calendar = Calendar()
    calendar.label(Kind.DAY, at("2026-08-02 00:10"))
    assert calendar.label(Kind.DAY, at("2026-08-01 23:10")) == "2026-08-02"
    assert calendar.seconds_left(Kind.DAY, at("2026-08-01 23:10")) == 24 * 3600 + 50 * 60


def test_a_clock_that_was_far_ahead_is_believed_when_it_is_set_right() -> None:
    calendar = Calendar()
    assert calendar.label(Kind.DAY, at("2027-08-02 00:10")) == "2027-08-02"
    assert calendar.label(Kind.DAY, at("2026-08-02 00:10")) == "2026-08-02"
    assert calendar.label(Kind.DAY, at("2026-08-02 00:10") - SET_BACK) == "2026-08-01"
