"""A downstream as plugins have it, whose health is made when they look."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from types import MappingProxyType

import pytest

from smtp_router import Attempt, Delivered, Downstream, Health, HealthState
from smtp_router.core.downstream import Figures, with_figures
from smtp_router.core.outcome import attempted

FIGURES: Figures = (HealthState.HALF_OPEN, 1, 2, 3, 4, 0.5, 0.25, [0.75, 2.0], 1)
HEALTH = Health(
    state=HealthState.HALF_OPEN,
    in_flight=1,
    delivered=2,
    failed=3,
    consecutive_failures=4,
    success_rate=0.5,
    latency_s=0.25,
    p95_s=0.75,
)
MADE = Downstream(name="a", host="h", port=25, options={"weight": 3}, health=HEALTH)


def offered() -> Downstream:
    """The same, as it is offered; nobody has looked at it yet."""
    return with_figures(replace(MADE, health=Health()), FIGURES)


@pytest.mark.parametrize(
    "way",
    [
        lambda downstream: downstream,
        copy.copy,
        copy.deepcopy,
        replace,
        lambda downstream: pickle.loads(pickle.dumps(downstream)),  # noqa: S301 - it is ours
    ],
    ids=["itself", "copy", "deepcopy", "replace", "pickle"],
)
def test_one_that_is_offered_is_like_one_that_is_made(way: Callable[[Downstream], Downstream]) -> None:
    downstream = way(offered())
    assert type(downstream) is Downstream
    assert downstream == MADE
    assert repr(downstream) == repr(MADE)
    assert hash(downstream) == hash(MADE)
    assert downstream.health == HEALTH
    assert type(downstream.health) is Health


def test_its_health_is_made_once() -> None:
    downstream = offered()
    assert downstream.health is downstream.health
    assert downstream.health.p95_s is downstream.health.p95_s


def test_it_cannot_be_changed() -> None:
    downstream = offered()
    for attribute in ("name", "health"):
        with pytest.raises(FrozenInstanceError):
            setattr(downstream, attribute, None)
    assert downstream.health == HEALTH


def test_without_options_it_has_none_and_nothing_has_happened() -> None:
    downstream = Downstream(name="a", host="h", port=25)
    assert (downstream.options, downstream.health) == (MappingProxyType({}), Health())


def test_an_attempt_that_the_router_makes_is_like_any_other() -> None:
    attempt = attempted(MADE, Delivered(), 0.5)
    assert type(attempt) is Attempt
    assert attempt == Attempt(downstream=MADE, outcome=Delivered(), seconds=0.5)
    with pytest.raises(FrozenInstanceError):
        attempt.seconds = 1.0  # type: ignore[misc]  # that is the point
