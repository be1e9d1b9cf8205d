"""What happened lately."""

from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.window import LATEST, PARTS, TICK_S, Latency, Timed, Window, p95

STARTS = st.sampled_from([0.0, -1e9, 1e6, 12345.678])


@given(STARTS, st.floats(0.01, 3600), st.lists(st.floats(0, 3), max_size=200))
def test_a_window_counts_all_that_happened_within_it_and_little_else(
    start: float, seconds: float, pauses: list[float]
) -> None:
    window = Window(seconds)
    instants = [start + seconds * sum_ for sum_ in accumulate(pauses)]
    for index, now in enumerate(instants):
        window.add(now)
        ages = [(now - then) / seconds for then in instants[: index + 1]]
        within = sum(age < 1 - 1e-6 for age in ages)
        within_and_a_part = sum(age <= 1 + 1 / PARTS + 1e-6 for age in ages)
        assert within <= window.total(now) <= within_and_a_part


@given(
    STARTS,
    st.floats(0.01, 3600),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200),
)
def test_who_goes_only_when_it_is_open_is_never_over_the_limit_within_any_window(
    start: float, seconds: float, limit: int, tries: list[tuple[float, bool]]
) -> None:
    window, now, gone = Window(seconds), start, list[float]()
    for pause, keep in tries:
        now += seconds * pause
        if window.opens_at(now, limit) > now:
            continue
        window.add(now)
        if keep:
            gone.append(now)
        else:
            window.take_back(now)
    for then in gone:
        assert sum(0 <= then - other < seconds * (1 - 1e-6) for other in gone) <= limit


@given(STARTS, st.floats(0.01, 3600), st.integers(1, 20), st.lists(st.floats(0, 0.5), min_size=1))
def test_it_opens_when_it_says_and_not_before(
    start: float, seconds: float, limit: int, pauses: list[float]
) -> None:
    window, now = Window(seconds), start
    for pause in pauses:
        now += seconds * pause
        window.add(now)
    opens_at = window.opens_at(now, limit)
    assert (opens_at <= now) == (window.total(now) < limit)
    assert opens_at <= now + seconds * (1 + 2 / PARTS) + 2 * TICK_S
    if opens_at > now:
        before = max(now, opens_at - 2 * TICK_S)
        assert window.opens_at(before, limit) == opens_at
        assert window.opens_at(opens_at, limit) <= opens_at


def test_what_is_taken_back_twice_or_too_late_takes_nothing_from_others() -> None:
    window = Window(60.0)
    for instant in (0.0, 30.0):
        window.add(instant)
    for _ in range(2):
        window.take_back(0.0)
    assert window.total(30.0) == 1
    assert window.total(59.0) == 1
    window.add(59.0)
    assert window.total(200.0) == 0
    window.take_back(59.0)
    assert window.total(200.0) == 0
    window.add(200.0)
    for _ in range(2):
        window.take_back(200.0)
    assert window.total(200.0) == 0


@given(STARTS, st.floats(0.01, 3600), st.lists(st.floats(0, 0.1), min_size=1, max_size=200))
def test_what_is_taken_back_at_once_or_later_is_taken_from_where_it_was_counted(
    start: float, seconds: float, pauses: list[float]
) -> None:
    window, twin = Window(seconds), Window(seconds)
    instants = [start + seconds * sum_ for sum_ in accumulate(pauses)]
    for index, now in enumerate(instants):
        window.add(now)
        if index % 2:
            twin.add(now)
    for then in instants[::2]:
        window.take_back(then)
    for now in (instants[-1] + seconds * part / PARTS for part in range(2 * PARTS)):
        assert window.total(now) == twin.total(now)


def test_what_it_remembers_does_not_grow_with_what_it_counts() -> None:
    window = Window(60.0)
    for number in range(100_000):
        window.add(number / 1000)
    assert len(window._older) <= PARTS  # noqa: SLF001 - memory is what this is about
    assert window.total(100.0) == pytest.approx(60_000, rel=0.02)


def test_a_window_passes_without_anything_happening() -> None:
    window = Window(60.0)
    window.add(0.0)
    assert (window.total(59.9), window.total(61.0)) == (1, 0)


def test_a_window_can_be_cleared() -> None:
    window = Window(60.0)
    window.add(0.0)
    window.clear()
    assert window.total(0.0) == 0


def timed(latency: Latency) -> Timed:
    return latency.values, len(latency.values)


def test_nothing_measured_is_zero() -> None:
    latency = Latency()
    assert (latency.average, p95(timed(latency))) == (0.0, 0.0)


def test_the_first_value_is_the_average_and_later_ones_weigh_an_eighth() -> None:
    latency = Latency()
    latency.add(8.0)
    assert latency.average == 8.0
    latency.add(0.0)
    assert latency.average == 7.0


@given(st.integers(1, 3 * LATEST), st.randoms(use_true_random=False))
def test_p95_is_the_nearest_rank_of_the_latest_at_that_moment(length: int, chance: Random) -> None:
    values = [float(chance.randrange(1000)) for _ in range(length)]
    latency, moments = Latency(), list[Timed]()
    for value in values:
        latency.add(value)
        moments.append(timed(latency))
    for count, moment in enumerate(moments, 1):
        latest = sorted(values[max(0, count - LATEST) : count])
        found = p95(moment)
        assert found in latest
        assert sum(value <= found for value in latest) >= 0.95 * len(latest)
        assert sum(value < found for value in latest) < 0.95 * len(latest)


def test_what_it_keeps_does_not_grow_with_what_it_measures() -> None:
    latency = Latency()
    for number in range(10 * LATEST):
        latency.add(number)
        assert len(latency.values) <= 1.25 * LATEST


def test_p95_of_a_hundred_is_the_95th() -> None:
    values = [float(number * 37 % 101) for number in range(1, 101)]
    assert sorted(values) == list(range(1, 101))
    latency = Latency()
    for value in values:
        latency.add(value)
    assert p95(timed(latency)) == 95.0
