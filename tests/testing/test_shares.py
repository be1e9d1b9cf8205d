"""`assert_share` passes who is right, fails who is not, and says what it saw."""

import random
from collections.abc import Sequence

import pytest

from smtp_router import Attempt, Downstream, Message, PluginError, hookimpl
from smtp_router.testing import assert_share, make_downstream, make_message
from smtp_router.testing.shares import _allowed

QUARTERS = {"a": 0.75, "b": 0.25}


class Draws:
    """Chooses the first with some probability."""

    def __init__(self, rng: random.Random, first: float = 0.75) -> None:
        self._rng, self._first = rng, first

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return downstreams[self._rng.random() >= self._first]


class Counts:
    """Chooses the first but for each fourth; told of one delivery for each choice, or else it stays."""

    def __init__(self) -> None:
        self._delivered = 0

    @hookimpl
    async def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return downstreams[self._delivered % 4 == 3]

    @hookimpl
    def after_send(self, attempt: Attempt) -> None:
        assert attempt.outcome.kind == "delivered"
        self._delivered += 1


def test_one_that_draws_right_passes_whatever_it_draws() -> None:
    for seed in range(20):
        assert_share(Draws, QUARTERS, messages=1000, seed=seed)


def test_one_that_draws_wrong_fails_and_it_is_said_how() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_share(Draws, QUARTERS, options={"first": 0.7})
    first, a, b = str(raised.value).splitlines()
    assert first == "shares of 10000 messages (probability of error 1e-09):"
    assert a.startswith("> a: expected 0.75 of them, 7500; allowed 7209 to 7784; got 69")
    assert b.startswith("> b: expected 0.25 of them, 2500; allowed 2216 to 2791; got 30")


def test_one_that_is_wrong_is_enough() -> None:
    weights = {name: {"weight": weight} for name, weight in (("a", 3), ("b", 2), ("c", 5))}
    with pytest.raises(AssertionError, match=r"(?s)> a: .*> b: .*  c: "):
        assert_share("weighted", {"a": 0.2, "b": 0.3, "c": 0.5}, downstream_options=weights, within=1)


def test_a_smaller_error_takes_more_messages() -> None:
    options = {"first": 0.73}
    assert_share(Draws, QUARTERS, options=options, messages=2000)
    assert_share(Draws, QUARTERS, options=options, messages=20_000, error=1e-30)
    with pytest.raises(AssertionError):
        assert_share(Draws, QUARTERS, options=options, messages=20_000)


@pytest.mark.parametrize(("messages", "share"), [(100, 0.5), (100, 0.01), (1000, 0.25), (50, 0.9)])
def test_the_stated_probability_of_error_holds_in_the_exact_distribution(
    messages: int, share: float
) -> None:
    for error in (0.5, 0.01, 1e-9):
        low, high = _allowed(share, messages, error, None)
        probabilities = [1.0 * (1 - share) ** messages]
        for count in range(1, messages + 1):
            odds = (messages - count + 1) / count * share / (1 - share)
            probabilities.append(probabilities[-1] * odds)
        inside = range(low, high + 1)
        outside = sum(one for count, one in enumerate(probabilities) if count not in inside)
        assert outside <= error
        wider = sum(one for count, one in enumerate(probabilities) if count not in inside[1:-1])
        assert wider > error / 1000  # it is no bound that everything keeps


def test_who_counts_can_be_held_to_it() -> None:
    assert_share(Counts, QUARTERS, messages=1003, within=0.75)
    with pytest.raises(
        AssertionError, match=r"within 0.5 messages(?s:.*)> a: .* allowed 752 to 752; got 753"
    ):
        assert_share(Counts, QUARTERS, messages=1003, within=0.5)


def test_an_algorithm_is_told_of_each_delivery_unless_it_is_said() -> None:
    with pytest.raises(AssertionError):
        assert_share(Counts, QUARTERS, messages=100, within=1, tell=False)
    assert_share(Counts, {"a": 1.0, "b": 0.0}, messages=100, within=0, tell=False)


def test_who_is_to_have_nothing_must_have_nothing() -> None:
    nearly = {"first": 0.999}
    with pytest.raises(AssertionError, match="b: expected 0 of them, 0; allowed 0 to 0; got"):
        assert_share(Draws, {"a": 1, "b": 0}, options=nearly)


def test_downstreams_can_be_given_whole() -> None:
    a, b = make_downstream("a", options={"weight": 3}), make_downstream("b")
    assert_share("weighted", {a: 0.75, b: 0.25}, within=1)
    assert_share("weighted", QUARTERS, downstream_options={"a": {"weight": 3}}, within=1)


def test_messages_can_be_given() -> None:
    def same(number: int) -> Message:
        return make_message(id=str(number))

    assert_share("sticky", {"a": 0.5, "b": 0.5})
    with pytest.raises(AssertionError, match="got 0"):
        assert_share("sticky", {"a": 0.5, "b": 0.5}, message=same)


class Chooses:
    """Nothing, but for who it is told."""

    @hookimpl
    def select_downstream(self) -> None:
        return None


def test_to_choose_nothing_is_no_share() -> None:
    with pytest.raises(AssertionError, match="Chooses chose nothing for message-0"):
        assert_share(Chooses, {"a": 1})


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.4}, {"a": 3, "b": 1}, {"a": 1.5, "b": -0.5}])
def test_shares_that_make_no_sense_are_an_error(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares are parts of 1"):
        assert_share(Draws, shares)


def test_options_for_nobody_are_an_error() -> None:
    with pytest.raises(ValueError, match="options for c, but no share"):
        assert_share(Draws, QUARTERS, downstream_options={"c": {}})


def test_wrong_options_are_an_error_as_in_the_router() -> None:
    with pytest.raises(PluginError, match="is not an option: did you mean first"):
        assert_share(Draws, QUARTERS, options={"frist": 1})


async def test_it_can_be_asked_from_a_coroutine() -> None:
    assert_share(Draws, QUARTERS)
