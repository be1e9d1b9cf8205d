"""Which attempts a breaker lets through, and which of them count."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtp_router import HealthState
from smtp_router.core.breaker import Rules
from smtp_router.routing.circuit import Circuit, Entry

RULES = Rules(failures=3, rest_s=5.0, max_rest_s=40.0, window_s=60.0, min_attempts=10)
CLOSED, HALF_OPEN, OPEN = HealthState.CLOSED, HealthState.HALF_OPEN, HealthState.OPEN


def fail(circuit: Circuit, now: float = 0.0, entry: Entry | None = None) -> bool:
    entry = entry or circuit.enter(now)
    rests = circuit.failed(entry, now, RULES, lambda: 0.0)
    circuit.leave(entry)
    return rests


def succeed(circuit: Circuit, now: float = 0.0, entry: Entry | None = None) -> bool:
    entry = entry or circuit.enter(now)
    is_back = circuit.succeeded(entry, now)
    circuit.leave(entry)
    return is_back


@pytest.fixture
def resting() -> Circuit:
    """One that rests until 5 seconds are over."""
    circuit = Circuit(RULES.window_s)
    assert [fail(circuit) for _ in range(RULES.failures)] == [False, False, True]
    assert circuit.is_resting(4.9)
    return circuit


def test_after_a_rest_one_at_a_time_is_let_through(resting: Circuit) -> None:
    assert not resting.is_resting(5.0)
    first = resting.enter(5.0)
    assert resting.is_resting(5.0)
    resting.leave(first)  # which was the message's own fault, or given up
    assert not resting.is_resting(5.0)


def test_with_each_success_twice_as_many_are_let_through(resting: Circuit) -> None:
    for slots in (1, 2, 4, 8, 16):
        entries: list[Entry] = []
        while not resting.is_resting(5.0) and len(entries) < 100:
            entries.append(resting.enter(5.0))
        assert len(entries) == slots
        succeed(resting, 5.0, entries.pop())
        for entry in entries:
            resting.leave(entry)
    assert resting.breaker.state is CLOSED


def test_only_the_first_success_after_a_rest_brings_it_back(resting: Circuit) -> None:
    assert [succeed(resting, 5.0) for _ in range(6)] == [True, False, False, False, False, False]


def test_a_success_of_one_that_was_tried_all_the_same_brings_it_back(resting: Circuit) -> None:
    assert succeed(resting, 1.0)
    assert resting.breaker.state is HALF_OPEN
    assert not resting.is_resting(1.0)


def test_a_failed_trial_lets_it_rest_again_and_longer(resting: Circuit) -> None:
    assert fail(resting, 5.0)
    assert resting.is_resting(14.9)
    assert not resting.is_resting(15.0)


def test_what_began_before_a_rest_says_nothing_about_it() -> None:
    circuit = Circuit(RULES.window_s)
    early = [circuit.enter(0.0) for _ in range(6)]
    assert [fail(circuit, 1.0, entry) for entry in early[:3]] == [False, False, True]
    until = circuit.breaker.until
    assert not fail(circuit, 5.9, early[3])
    assert not succeed(circuit, 5.9, early[4])
    assert (circuit.breaker.state, circuit.breaker.until) == (OPEN, until)
    trial = circuit.enter(until)
    assert not fail(circuit, until, early[5])
    assert circuit.breaker.state is HALF_OPEN
    assert circuit.is_resting(until)
    assert succeed(circuit, until, trial)


def test_a_trial_of_an_earlier_rest_takes_no_slot_of_a_later_one(resting: Circuit) -> None:
    old = resting.enter(5.0)
    fail(resting, 5.0)  # all others rest, too
    new = resting.enter(15.0)
    resting.leave(old)
    assert resting.is_resting(15.0)
    resting.leave(new)
    assert not resting.is_resting(15.0)


def test_too_many_failures_within_the_window_let_it_rest() -> None:
    circuit = Circuit(RULES.window_s)
    results = [(succeed if number % 2 else fail)(circuit, float(number)) for number in range(20)]
    assert results.index(True) == 10  # the eleventh attempt is the sixth that failed


def test_failures_long_ago_do_not_count() -> None:
    circuit = Circuit(RULES.window_s)
    assert not any((succeed if number % 2 else fail)(circuit, number * 10.0) for number in range(200))


def test_failures_before_a_rest_do_not_count_after_it(resting: Circuit) -> None:
    for _ in range(5):
        succeed(resting, 5.0)
    assert resting.breaker.state is CLOSED
    for _ in range(4):
        succeed(resting, 5.0)
    assert not fail(resting, 5.0)


def test_a_window_of_another_length_counts_from_now_on() -> None:
    circuit = Circuit(RULES.window_s)
    for _ in range(20):
        succeed(circuit)
    entry = circuit.enter(0.0)
    shorter = Rules(window_s=5.0)
    circuit.failed(entry, 0.0, shorter, lambda: 0.0)
    assert circuit.good(0.0) == 0
    succeed(circuit)
    assert (circuit.good(4.9), circuit.good(5.2)) == (1, 0)


class Traffic(RuleBasedStateMachine):
    """Any traffic at all, by a router that sends nothing to a downstream that rests, but sometimes."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(RULES.window_s)
        self.now = 0.0
        self.under_way: list[Entry] = []
        self.trials = 0

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def enter(self) -> None:
        if not self.circuit.is_resting(self.now):
            self.under_way.append(self.circuit.enter(self.now))

    @precondition(lambda self: len(self.under_way) < 5)
    @rule()
    def enter_all_the_same(self) -> None:
        self.under_way.append(self.circuit.enter(self.now))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1000), how=st.sampled_from(["good", "bad", "neither"]))
    def end(self, which: int, how: str) -> None:
        entry = self.under_way.pop(which % len(self.under_way))
        if how == "good":
            self.circuit.succeeded(entry, self.now)
        elif how == "bad":
            self.circuit.failed(entry, self.now, RULES, lambda: 0.5)
        self.circuit.leave(entry)

    @invariant()
    def it_is_tried_again_within_the_bound(self) -> None:
        state = self.circuit.breaker.looked_at(self.now + RULES.max_rest_s).state
        assert state is not OPEN

    @invariant()
    def with_nothing_under_way_a_rest_is_all_that_keeps_it_back(self) -> None:
        if not self.under_way:
            resting = self.circuit.is_resting(self.now)
            assert resting == (self.circuit.breaker.looked_at(self.now).state is OPEN)

    def teardown(self) -> None:
        for entry in self.under_way:
            self.circuit.leave(entry)
        assert not self.circuit.is_resting(self.now + RULES.max_rest_s)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
