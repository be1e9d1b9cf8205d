"""Latency: of two downstreams drawn at random, the faster one.

To choose the fastest of all would herd: figures are as old as deliveries take, so everything goes where
it was fast, until it is slow there, and then somewhere else. Two that are drawn, and what is under way
there, which is known at once, balance well on old figures, too.

The lower score is chosen: what a delivery takes there lately, times the messages that would be under
way. How far that time counts depends on how well it is known: without figures on both sides, only what
is under way does. So one that is new, or has not been used for long, is tried like any other.
"""

import math
import random
from collections.abc import Sequence

from smtp_router import (
    Attempt,
    Clock,
    Deferred,
    Delivered,
    Downstream,
    InDoubt,
    Message,
    hookimpl,
    note,
)
from smtp_router_latency._pace import Pace

__all__ = ["Latency"]

_BIG = 256 * 1024
"""Bigger messages are measured apart, by what so many octets of them take."""


class Latency:
    """Chooses by recent latency; the router makes one instance per user.

    Args:
        rng: what draws.
        clock: what figures grow old by.
        explore: which share of the messages goes to one of those not chosen, to measure it; from 0 to 1.
        half_life_s: after how many seconds a figure counts half.
        failure_s: how many seconds longer than it took a failed attempt counts.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        rng: random.Random,
        clock: Clock,
        explore: float = 0.05,
        half_life_s: float = 600,
        failure_s: float = 10,
    ) -> None:
        self._rng = rng
        self._clock = clock
        self._explore = _number("explore", explore, "a share from 0 to 1", 0, 1)
        self._half_life_s = _number("half_life_s", half_life_s, "seconds from 1 to 1000000", 1, 1e6)
        self._failure_s = _number("failure_s", failure_s, "seconds from 0 to 3600", 0, 3600)
        self._paces: dict[tuple[str, bool], Pace] = {}

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        """Choose the better of two, or explore.

        Args:
            message: whether it is big decides which figures count.
            downstreams: those still worth trying for this message, at least one.

        Returns:
            One of `downstreams`.
        """
        if len(downstreams) == 1:
            return downstreams[0]
        one, two = self._rng.sample(downstreams, 2)
        chosen = self._better(one, two, is_big=message.size > _BIG)
        if self._explore and self._rng.random() < self._explore:
            # One that has mail under way is being measured as it is, and if it hangs, one is enough.
            idle = [one for one in downstreams if one is not chosen and not one.health.in_flight]
            if idle:
                chosen = self._rng.choice(idle)
                note(f"latency: {chosen.name}, to measure it")
        return chosen

    @hookimpl
    def after_send(self, message: Message, attempt: Attempt) -> None:
        """Measure it.

        Args:
            message: a big one counts by its size.
            attempt: a failure counts as a slow delivery, unless it says nothing of the downstream.
        """
        is_big = message.size > _BIG
        match attempt.outcome:
            case Delivered():
                seconds = attempt.seconds * _BIG / message.size if is_big else attempt.seconds
            case InDoubt() | Deferred(neutral=False, incapable=False):
                seconds = attempt.seconds + self._failure_s
            case _:
                return
        key = attempt.downstream.name, is_big
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(self._half_life_s)
        pace.add(seconds, self._clock.now())

    def _better(self, one: Downstream, two: Downstream, *, is_big: bool) -> Downstream:
        """The one with the lower score; the first, which is as random as any, if they are equal."""
        now = self._clock.now()
        known = [self._known(downstream.name, is_big=is_big, now=now) for downstream in (one, two)]
        (weight, log_s), (other_weight, other_log_s) = known
        weight = min(weight, other_weight)
        trust = weight / (weight + 1)
        load, other_load = one.health.in_flight + 1, two.health.in_flight + 1
        lead = trust * (other_log_s - log_s) + math.log(other_load / load)
        chosen, other = (one, two) if lead >= 0 else (two, one)
        if weight:
            times = f"{math.exp(log_s):.3g} s and {math.exp(other_log_s):.3g} s"
        else:
            times = "not known well enough"
        note(
            f"latency: {chosen.name} rather than {other.name}; for {one.name} and {two.name},"
            f" a delivery takes: {times}; under way: {load - 1} and {other_load - 1}"
        )
        return chosen

    def _known(self, name: str, *, is_big: bool, now: float) -> tuple[float, float]:
        """How well its pace is known, and its logarithm; 0 and 0 if it is not."""
        pace = self._paces.get((name, is_big))
        weight = pace.weight(now) if pace else 0.0
        return (weight, pace.log_s) if pace and weight else (0.0, 0.0)


def _number(name: str, value: object, what: str, least: float, most: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise ValueError(f"{name} must be {what}, not {value!r}")
