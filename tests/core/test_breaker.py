"""When a downstream rests, and how it comes back."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import HealthState
from smtp_router.core.breaker import FULL, Breaker, Rules

RULES = Rules(failures=3, failure_rate=0.5, min_attempts=10, rest_s=5.0, max_rest_s=60.0)

CLOSED, HALF_OPEN, OPEN = HealthState.CLOSED, HealthState.HALF_OPEN, HealthState.OPEN


def failed(
    breaker: Breaker, now: float = 0.0, *, bad: int = 1, total: int = 1, chance: float = 0.0
) -> Breaker:
    return breaker.failed(now, RULES, bad=bad, total=total, chance=chance)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(RULES.failures):
        breaker = failed(breaker, now)
    assert breaker.state is OPEN
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker()
    states = []
    for _ in range(RULES.failures):
        breaker = failed(breaker)
        states.append(breaker.state)
    assert states == [CLOSED, CLOSED, OPEN]


def test_a_success_ends_the_row() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker = failed(failed(breaker)).succeeded()
    assert (breaker.state, breaker.row) == (CLOSED, 0)


@pytest.mark.parametrize(
    ("bad", "total", "state"), [(5, 10, OPEN), (4, 10, CLOSED), (9, 9, CLOSED), (50, 101, CLOSED)]
)
def test_it_opens_when_too_many_of_enough_failed(bad: int, total: int, state: HealthState) -> None:
    assert failed(Breaker(), bad=bad, total=total).state is state


def test_it_rests_for_a_time_and_is_then_tried_by_one() -> None:
    breaker = opened(now=100.0)
    assert breaker.until == 105.0
    assert breaker.looked_at(104.9) is breaker
    tried = breaker.looked_at(105.0)
    assert (tried.state, tried.slots) == (HALF_OPEN, 1)


def test_each_success_doubles_how_many_try_it_until_it_is_closed() -> None:
    breaker = opened().looked_at(5.0)
    slots = []
    while breaker.state is HALF_OPEN:
        slots.append(breaker.slots)
        breaker = breaker.succeeded()
    assert slots == [1, 2, 4, 8, 16]
    assert slots[-1] * 2 == FULL
    assert breaker == Breaker(failed_at=0.0)


def test_each_failed_trial_doubles_the_rest_up_to_a_bound() -> None:
    breaker, now, rests = opened(), 0.0, []
    for _ in range(6):
        rests.append(breaker.until - now)
        now = breaker.until
        breaker = failed(breaker.looked_at(now), now)
    assert rests == [5, 10, 20, 40, 60, 60]


def test_a_rest_has_no_end_of_doublings() -> None:
    breaker = replace(opened(), state=HALF_OPEN, rests=10**6)
    assert failed(breaker, 1.0).until == 61.0


@pytest.mark.parametrize(("chance", "rest_s"), [(0.0, 5.0), (0.5, 3.75), (1.0, 2.5)])
def test_chance_shortens_a_rest_by_half_at_most(chance: float, rest_s: float) -> None:
    breaker = failed(failed(Breaker()))
    assert failed(breaker, chance=chance).until == rest_s


def test_once_closed_the_first_rest_is_a_short_one_again() -> None:
    breaker = failed(opened().looked_at(5.0), 5.0)
    assert breaker.rests == 2
    breaker = breaker.looked_at(math.inf)
    for _ in range(5):
        breaker = breaker.succeeded()
    assert breaker.rests == 0


def test_a_failure_while_it_rests_makes_no_rest_longer() -> None:
    breaker = opened(now=0.0)
    again = failed(breaker, 3.0)
    assert (again.state, again.until, again.rests) == (OPEN, breaker.until, breaker.rests)
    assert again.failed_at == 3.0


def test_a_success_while_it_rests_wakes_it() -> None:
    breaker = opened().succeeded()
    assert (breaker.state, breaker.slots, breaker.row) == (HALF_OPEN, 2, 0)


events = st.lists(
    st.tuples(st.sampled_from(["success", "failure", "look"]), st.floats(0, 100), st.floats(0, 1)),
    max_size=60,
)


@given(events)
def test_whatever_happens_it_never_rests_for_longer_than_the_bound(
    happens: list[tuple[str, float, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for what, seconds, chance in happens:
        now += seconds
        match what:
            case "success":
                breaker = breaker.succeeded()
            case "failure":
                breaker = failed(breaker, now, chance=chance)
            case _:
                breaker = breaker.looked_at(now)
        assert breaker.until <= now + RULES.max_rest_s
        assert breaker.looked_at(now + RULES.max_rest_s).state is not OPEN
        assert (breaker.slots > 0) == (breaker.state is HALF_OPEN)
        assert breaker.slots < FULL
        assert breaker.state is not CLOSED or breaker.row < RULES.failures
        assert breaker.failed_at <= now
