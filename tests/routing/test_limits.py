"""What is sent to whom, and whether there is room for more."""

import asyncio
import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtp_router.config.limits import NO_LIMITS, Limits
from smtp_router.routing.limits import Meter, Parts


def metered(**limits: Any) -> tuple[Meter, Limits]:  # noqa: ANN401 - any key of the settings
    given = Limits(**limits)
    meter = Meter()
    meter.watch(given)
    return meter, given


def take(meter: Meter, now: float, limits: Limits = NO_LIMITS) -> Parts:
    parts = meter.take(limits, now)
    assert parts is not None
    return parts


def end(meter: Meter, parts: Parts, began: float, *, sent: bool) -> None:
    if not sent:
        meter.give_back(parts, began)
    meter.leave()


def test_without_limits_there_is_always_room() -> None:
    meter, limits = metered()
    for _ in range(1000):
        take(meter, 0.0)
    assert meter.opens_at(limits, 0.0) <= 0.0


def test_concurrency_is_full_until_one_is_done() -> None:
    meter, limits = metered(concurrency=2)
    for _ in range(2):
        take(meter, 0.0)
    assert meter.opens_at(limits, 1e9) == math.inf
    meter.leave()
    assert meter.opens_at(limits, 0.0) <= 0.0


def test_each_limit_has_to_leave_room() -> None:
    meter, limits = metered(per_second=2, per_minute=3)
    for _ in range(2):
        end(meter, take(meter, 0.0), 0.0, sent=True)
    assert 1.0 < meter.opens_at(limits, 0.0) < 1.1
    end(meter, take(meter, 10.0), 10.0, sent=True)
    assert 60.0 < meter.opens_at(limits, 10.0) < 62.0


def test_what_was_not_sent_does_not_count() -> None:
    meter, limits = metered(per_hour=1)
    end(meter, take(meter, 0.0), 0.0, sent=False)
    assert meter.opens_at(limits, 0.0) <= 0.0
    end(meter, take(meter, 0.0), 0.0, sent=True)
    assert meter.opens_at(limits, 0.0) > 3600.0


def test_those_who_share_a_meter_count_together_against_limits_of_their_own() -> None:
    meter, many = metered(per_minute=10)
    few = Limits(per_minute=3, per_hour=5)
    meter.watch(few)
    for _ in range(3):
        end(meter, take(meter, 0.0), 0.0, sent=True)
    assert meter.opens_at(few, 0.0) > 0.0
    assert meter.opens_at(many, 0.0) <= 0.0


def test_a_limit_that_is_added_counts_from_then_on_and_keeps_the_others() -> None:
    meter, limits = metered(per_minute=1)
    take(meter, 0.0)
    more = Limits(per_minute=1, per_hour=1)
    meter.watch(more)
    meter.leave()
    assert 60.0 < meter.opens_at(more, 0.0) < 62.0
    assert meter.opens_at(Limits(per_hour=1), 0.0) <= 0.0
    assert meter.opens_at(limits, 0.0) > 0.0


def test_whoever_waits_is_woken_when_one_is_done() -> None:
    meter, _ = metered()
    event = asyncio.Event()
    take(meter, 0.0)
    meter.waiting.append(event)
    meter.leave()
    assert event.is_set()


LIMITS = Limits(concurrency=3, per_second=4, per_minute=20)


class Traffic(RuleBasedStateMachine):
    """Any traffic by a router that asks for room first."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter()
        self.meter.watch(LIMITS)
        self.sure: float = 0
        self.now = 0.0
        self.under_way: list[tuple[float, Parts]] = []
        self.sent: list[float] = []

    @rule(seconds=st.one_of(st.floats(0, 0.5), st.floats(0, 70)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        if self.meter.opens_at(LIMITS, self.now) <= self.now:
            self.under_way.append((self.now, take(self.meter, self.now)))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9), sent=st.booleans())
    def end(self, which: int, sent: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        began, place = self.under_way.pop(which % len(self.under_way))
        end(self.meter, place, began, sent=sent)
        if sent:
            self.sent.append(began)

    @invariant()
    def no_limit_is_overshot(self) -> None:
        assert len(self.under_way) <= (LIMITS.concurrency or 0)
        taken = [*self.sent, *(began for began, _ in self.under_way)]
        for seconds, count in LIMITS.windows:
            for end in taken:
                assert sum(0 <= end - other < seconds * (1 - 1e-9) for other in taken) <= count

    @invariant()
    def the_quick_look_sees_the_same(self) -> None:
        room = self.meter.room(LIMITS, self.now)
        is_open = self.meter.opens_at(LIMITS, self.now) <= self.now
        assert room >= 0
        assert bool(room) == is_open

    @invariant()
    def so_many_more_do_have_room_whatever_the_time(self) -> None:
        if self.meter.taken >= self.sure:
            self.sure = self.meter.taken + self.meter.room(LIMITS, self.now)
        else:
            assert self.meter.opens_at(LIMITS, self.now) <= self.now

    @invariant()
    def there_is_room_again_in_time(self) -> None:
        if not self.under_way:
            assert self.meter.opens_at(LIMITS, self.now) < self.now + 62.0

    def teardown(self) -> None:
        for began, place in self.under_way:
            end(self.meter, place, began, sent=True)
        opens_at = self.meter.opens_at(LIMITS, self.now)
        assert self.meter.opens_at(LIMITS, opens_at) <= opens_at


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
