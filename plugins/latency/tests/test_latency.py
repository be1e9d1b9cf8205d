import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import (
    Deferred,
    Delivered,
    Downstream,
    Health,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    Stage,
)
from smtp_router.testing import (
    VirtualClock,
    conformance,
    make_attempt,
    make_downstream,
    make_message,
)
from smtp_router_latency import Latency


def made(clock: VirtualClock | None = None, **options: float) -> Latency:
    rng = random.Random(1)  # noqa: S311 - shares, no secret
    return Latency(rng, clock or VirtualClock(), **options)


def downstream(name: str, in_flight: int = 0) -> Downstream:
    return make_downstream(name, health=Health(in_flight=in_flight))


def message(size: int = 100) -> Message:
    return make_message(content=bytes(size))


def tell(algorithm: Latency, name: str, *seconds: float, size: int = 100) -> None:
    """Deliveries there that took so long."""
    for one in seconds:
        end(algorithm, name, Delivered(), one, size)


def end(algorithm: Latency, name: str, outcome: Outcome, seconds: float, size: int = 100) -> None:
    algorithm.after_send(message(size), make_attempt(name, outcome, seconds=seconds))


def counts(
    algorithm: Latency, offered: Sequence[Downstream], messages: int = 1000, size: int = 100
) -> Counter[str]:
    """Where messages go that are sent one after the other, and of which nobody hears again."""
    mail = message(size)
    return Counter(algorithm.select_downstream(mail, offered).name for _ in range(messages))


A, B, C = (downstream(name) for name in "abc")

# Exploring


def test_without_exploring_a_slow_one_has_nothing_as_long_as_it_is_known() -> None:
    algorithm = made(explore=0)
    tell(algorithm, "a", 0.1)
    tell(algorithm, "b", 0.2)
    assert counts(algorithm, [A, B]) == {"a": 1000}


def test_what_has_mail_under_way_is_not_explored() -> None:
    """It is being measured; and if it hangs, one message is enough."""
    algorithm = made(explore=1)
    tell(algorithm, "a", 0.1)
    tell(algorithm, "b", 9)
    assert counts(algorithm, [A, B]) == {"b": 1000}
    assert counts(algorithm, [A, downstream("b", in_flight=1)]) == {"a": 1000}


def test_what_has_no_figures_is_tried_like_any_other() -> None:
    algorithm = made(explore=0)
    tell(algorithm, "a", *[0.001] * 20)
    assert counts(algorithm, [A, B])["b"] == pytest.approx(500, abs=60)
    assert counts(algorithm, [A, B, C])["c"] == pytest.approx(333, abs=60)
    assert counts(algorithm, [downstream("a", in_flight=1), B]) == {"b": 1000}


def test_what_was_slow_long_ago_is_forgotten() -> None:
    clock = VirtualClock()
    algorithm = made(clock, explore=0, half_life_s=60)
    tell(algorithm, "a", *[0.1] * 20)
    tell(algorithm, "b", *[30] * 20)
    clock.advance(6 * 60)
    tell(algorithm, "a", *[0.1] * 20)
    assert counts(algorithm, [A, B]) == {"a": 1000}
    clock.advance(2 * 60)
    tell(algorithm, "a", *[0.1] * 20)
    assert counts(algorithm, [A, B])["b"] == pytest.approx(500, abs=60)


def test_a_new_figure_outweighs_many_old_ones() -> None:
    clock = VirtualClock()
    algorithm = made(clock, explore=0, half_life_s=60)
    tell(algorithm, "a", *[30] * 20)
    clock.advance(5 * 60)
    tell(algorithm, "a", 0.01)
    tell(algorithm, "b", *[1] * 20)
    assert counts(algorithm, [A, B]) == {"a": 1000}


def test_old_figures_yield_to_what_is_under_way() -> None:
    """How far figures count depends on their age; what is under way is always so."""
    clock = VirtualClock()
    algorithm = made(clock, explore=0, half_life_s=60)
    for name, seconds in (("a", 0.1), ("b", 1)):
        tell(algorithm, name, *[seconds] * 20)
    offered = [downstream("a", in_flight=2), B]
    assert counts(algorithm, offered) == {"a": 1000}
    clock.advance(5 * 60)
    assert counts(algorithm, offered) == {"b": 1000}


# What counts as a delivery, and how long it took


def test_one_outlier_moves_no_mail_and_several_do() -> None:
    algorithm = made(explore=0)
    tell(algorithm, "a", *[0.1] * 20, 1)
    tell(algorithm, "b", *[0.2] * 20)
    assert counts(algorithm, [A, B]) == {"a": 1000}
    tell(algorithm, "a", 1, 1, 1, 1)
    assert counts(algorithm, [A, B]) == {"b": 1000}


FAILURES = [Deferred(stage=stage) for stage in Stage] + [InDoubt()]
NEITHER = [
    Rejected(stage=Stage.RCPT),
    Deferred(stage=Stage.MAIL, neutral=True),
    Deferred(stage=Stage.MAIL, incapable=True),
]


@pytest.mark.parametrize("outcome", FAILURES, ids=str)
@pytest.mark.parametrize("size", [100, 30_000_000])
def test_a_failure_is_no_fast_delivery(outcome: Outcome, size: int) -> None:
    algorithm = made(explore=0)
    end(algorithm, "a", outcome, 0.001, size)
    tell(algorithm, "b", 9, size=size)
    assert counts(algorithm, [A, B], size=size) == {"b": 1000}


@pytest.mark.parametrize("outcome", NEITHER)
def test_what_says_nothing_of_the_downstream_does_not_count(outcome: Outcome) -> None:
    algorithm = made(explore=0)
    for _ in range(20):
        end(algorithm, "a", outcome, 30)
    tell(algorithm, "b", 0.1)
    assert counts(algorithm, [A, B])["a"] == pytest.approx(500, abs=60)


def test_big_messages_are_measured_apart_and_by_their_size() -> None:
    algorithm = made(explore=0)
    tell(algorithm, "a", *[0.2] * 20)
    tell(algorithm, "b", *[0.1] * 20)
    tell(algorithm, "a", *[6.0] * 20, size=30_000_000)
    tell(algorithm, "b", *[1.0] * 20, size=1_000_000)  # less time, and five times as long per octet
    assert counts(algorithm, [A, B]) == {"b": 1000}
    assert counts(algorithm, [A, B], size=10_000_000) == {"a": 1000}


# Whatever is offered

events = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from([Delivered(), *FAILURES, *NEITHER]),
        st.sampled_from([0, 1e-9, 0.1, 1e6]),
        st.sampled_from([0, 1e-9, 1, 1e5, 1e9]),
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**6)), min_size=1),
    ),
    max_size=30,
)


@given(events=events, explore=st.sampled_from([0, 0.5, 1]))
def test_what_is_chosen_is_one_of_those_offered(
    events: list[tuple[str, Outcome, float, float, list[tuple[str, int]]]], explore: float
) -> None:
    clock = VirtualClock()
    algorithm = made(clock, explore=explore)
    for name, outcome, seconds, later_s, listed in events:
        clock.advance(later_s)
        end(algorithm, name, outcome, seconds)
        offered = [downstream(name, in_flight) for name, in_flight in dict(listed).items()]
        found = algorithm.select_downstream(message(), offered)
        assert any(found is one for one in offered)


# Configuration


@pytest.mark.parametrize("name", ["explore", "half_life_s", "failure_s"])
@pytest.mark.parametrize("value", [-1, "1", float("nan"), float("inf"), 10**400, True, None])
def test_a_wrong_option_is_refused_with_its_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be (a share|seconds) from [01] to \d+, not "):
        made(None, **{name: value})


def test_no_half_life_is_too_short() -> None:
    with pytest.raises(ValueError, match=r"^half_life_s must be seconds from 1 to 1000000, not 0$"):
        made(half_life_s=0)


# As every plugin

test_conformance = conformance(Latency, {"explore": 0.5})
