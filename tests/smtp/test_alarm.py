"""One timer for all limits, in virtual time."""

import asyncio
import math
from collections.abc import Callable
from typing import cast

import pytest

from smtp_router.smtp.alarm import LEAST_S, Alarm


class Timer:
    """What a loop gives for a callback to come."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Hours:
    """The part of an event loop that an alarm needs."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.looks = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    @property
    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def run(self, until: float) -> None:
        """Let time pass."""
        while self.pending and min(timer.when for timer in self.pending) <= until:
            timer = min(self.pending, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            self.looks += 1
            timer.call()
        self.now = until


class Limit:
    """Something that is due at some time."""

    def __init__(self, hours: Hours, alarm: Alarm, due: float) -> None:
        self.hours, self.alarm, self.due = hours, alarm, due
        self.ended_at: float | None = None
        alarm.watch(self)
        alarm.by(due)

    def check(self, now: float) -> float:
        if now < self.due:
            return self.due
        self.ended_at, self.due = now, math.inf
        return math.inf


def make() -> tuple[Hours, Alarm]:
    hours = Hours()
    return hours, Alarm(cast("asyncio.AbstractEventLoop", hours))


def test_what_is_due_ends_and_the_rest_does_not() -> None:
    hours, alarm = make()
    limits = [Limit(hours, alarm, due) for due in (130, 110, 120)]
    hours.run(119)
    assert [limit.ended_at for limit in limits] == [None, 110, None]
    hours.run(200)
    assert [limit.ended_at for limit in limits] == [130, 110, 120]
    assert not hours.pending


def test_a_limit_that_is_put_off_costs_nothing() -> None:
    hours, alarm = make()
    limit = Limit(hours, alarm, 110)
    for number in range(1000):
        limit.due = 120 + number
        alarm.by(limit.due)
    assert len(hours.timers) == 1
    hours.run(1118)
    assert limit.ended_at is None
    assert hours.looks == 1
    hours.run(1119)
    assert limit.ended_at == 1119


def test_one_that_is_brought_forward_counts() -> None:
    hours, alarm = make()
    limit = Limit(hours, alarm, 200)
    limit.due = 105
    alarm.by(105)
    hours.run(105)
    assert limit.ended_at == 105


def test_many_limits_close_together_are_looked_at_together_and_hardly_late() -> None:
    hours, alarm = make()
    limits = [Limit(hours, alarm, 110 + number / 10_000) for number in range(10_000)]
    hours.run(112)
    assert hours.looks <= 1 / LEAST_S + 2
    late = [(limit.ended_at or math.inf) - 110 - number / 10_000 for number, limit in enumerate(limits)]
    assert min(late) > -1e-9
    assert max(late) <= LEAST_S + 0.001


def test_what_is_forgotten_is_not_looked_at() -> None:
    hours, alarm = make()
    limits = [Limit(hours, alarm, 110) for _ in range(2)]
    alarm.forget(limits[0])
    assert hours.pending
    alarm.forget(limits[1])
    assert not hours.pending
    assert alarm.at == math.inf
    hours.run(200)
    assert [limit.ended_at for limit in limits] == [None, None]


def test_what_becomes_due_while_others_are_ended_is_not_missed() -> None:
    hours, alarm = make()
    born: list[Limit] = []

    class Parent(Limit):
        def check(self, now: float) -> float:
            if now >= self.due:
                born.append(Limit(hours, alarm, now + 0.001))
            return super().check(now)

    Parent(hours, alarm, 110)
    Limit(hours, alarm, 150)
    hours.run(111)
    assert born[0].ended_at is not None
    assert born[0].ended_at <= 110 + 0.001 + LEAST_S


@pytest.mark.parametrize("begins", [0, 30, 60, 61, 119, 500])
def test_nobody_has_to_tell_of_a_limit_that_is_as_long_as_it_looks_often(begins: int) -> None:
    hours, alarm = make()
    alarm.every(60)
    limit = Limit(hours, alarm, math.inf)
    hours.run(100 + begins)
    limit.due = hours.now + 60
    hours.run(limit.due + 100)
    assert limit.ended_at == 160 + begins
    assert hours.looks <= 2 + hours.now / 60


def test_what_is_looked_at_already_is_looked_at_as_often_as_well() -> None:
    hours, alarm = make()
    limit = Limit(hours, alarm, 1000)
    alarm.every(10)
    limit.due = 110
    hours.run(115)
    assert limit.ended_at == 110


def test_while_nothing_is_watched_it_does_not_look() -> None:
    hours, alarm = make()
    alarm.every(1)
    assert not hours.pending

    class Last(Limit):
        def check(self, now: float) -> float:
            alarm.forget(self)
            return super().check(now)

    Last(hours, alarm, 105)
    hours.run(200)
    assert hours.looks == 1
