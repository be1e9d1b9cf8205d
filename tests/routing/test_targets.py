"""What targets share."""

import gc
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings as limited
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtp_router import Deferred, Downstream, HealthState, Outcome, Stage
from smtp_router.config.load import load
from smtp_router.config.settings import Settings
from smtp_router.core.blame import Blame
from smtp_router.core.downstream import Figures
from smtp_router.core.window import p95
from smtp_router.routing.target import Passage, Target
from smtp_router.routing.targets import Targets
from tests.routing.bench import rest
from tests.support import (
    VirtualClock,
    config_text,
    deferred,
    delivered,
    make_attempt,
    make_reply,
    unreachable,
)

LOGIN = {"addr": "a.example:25", "user": "apikey", "pass": "s3cret"}
ASKED = Deferred(stage=Stage.RCPT, reply=make_reply("451 4.7.1 in 30 s"), rest_s=30)


@pytest.fixture
def settings(tmp_path: Path) -> Any:  # noqa: ANN401 - a function
    def make(**more: object) -> Settings:
        (tmp_path / "config.yaml").write_text(config_text(downstreams={"a": {**LOGIN, **more}}))
        return load(tmp_path / "config.yaml").settings

    return make


def made(targets: Targets, settings: Settings) -> Target:
    (user,) = settings.users
    return targets.make(user.email, user.downstreams[0], settings)


def refused() -> Outcome:
    return deferred("535 5.7.8 wrong", Stage.AUTH)


@pytest.mark.parametrize(
    ("other", "outcome", "shared"),
    [
        ({}, unreachable(), True),
        ({}, refused(), True),
        ({"name": "b", "options": {"weight": 3}}, refused(), True),
        ({"limits": {"per_hour": 3}}, refused(), True),
        ({"pass": "another"}, unreachable(), True),
        ({"pass": "another"}, refused(), False),
        ({"user": "another"}, refused(), False),
        ({"auth": {"type": "plain"}}, unreachable(), True),
        ({"auth": {"type": "plain"}}, refused(), False),
        ({"tls": "none"}, unreachable(), False),
        ({"tls_verify": False}, unreachable(), False),
        ({"addr": "a.example:26"}, unreachable(), False),
        ({"addr": "b.example:25"}, unreachable(), False),
    ],
)
def test_a_server_is_shared_by_all_and_a_login_by_those_who_have_it(
    settings: Any,  # noqa: ANN401 - a function
    other: dict[str, Any],
    outcome: Outcome,
    shared: bool,  # noqa: FBT001 - a parameter
) -> None:
    targets = Targets()
    one = made(targets, settings()).gauge
    two = made(targets, settings(**other)).gauge
    rest(one, outcome)
    assert one.is_resting(now=0.0)
    assert two.is_resting(now=0.0) == shared


def test_what_nobody_uses_any_more_is_forgotten(settings: Any) -> None:  # noqa: ANN401 - a function
    targets = Targets()
    gauge = made(targets, settings()).gauge
    rest(gauge)
    assert made(targets, settings()).gauge is gauge
    del gauge
    gc.collect()
    assert not made(targets, settings()).gauge.is_resting(now=0.0)


def test_what_is_known_stays_while_those_who_would_look_have_not_looked_yet(
    settings: Any,  # noqa: ANN401 - a function
) -> None:
    targets = Targets()
    before = made(targets, settings())
    rest(before.gauge)
    before.rest.ask(10.0, now=0.0)
    after = made(targets, settings())
    del before
    gc.collect()
    assert after.gauge.is_resting(now=0.0)
    assert after.rest.until == 10.0


def begun(target: Target, now: float) -> Passage:
    passage = target.begin(now)
    assert passage is not None
    return passage


class Traffic(RuleBasedStateMachine):
    """Two downstreams of one account, one of another at the same server, and whatever happens there."""

    def __init__(self) -> None:
        super().__init__()
        text = config_text(
            downstreams={
                "a": {**LOGIN, "limits": {"concurrency": 2, "per_minute": 9}},
                "b": LOGIN,
                "c": {**LOGIN, "user": "another"},
            }
        )
        with TemporaryDirectory() as folder:
            file = Path(folder, "config.yaml")
            file.write_text(text)
            settings = load(file).settings
        (user,) = settings.users
        targets = Targets()
        self.targets = [targets.make(user.email, one, settings) for one in user.downstreams]
        self.clock = VirtualClock()
        self.under_way: list[tuple[Target, Passage]] = []
        self.had: list[tuple[Downstream, Figures, float]] = []

    @rule(seconds=st.sampled_from((0.5, 6.0, 70.0)))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 2))
    def begin(self, which: int) -> None:
        target = self.targets[which]
        if target.has_room(self.clock.now()):
            self.under_way.append((target, begun(target, self.clock.now())))

    @precondition(lambda self: self.under_way)
    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from((delivered(), delivered(), unreachable(), refused(), ASKED, None)),
        seconds=st.floats(0, 9),
        times=st.integers(1, 4),
    )
    def end(self, which: int, outcome: Outcome | None, seconds: float, times: int) -> None:
        target, passage = self.under_way.pop(which % len(self.under_way))
        now = self.clock.now()
        passages = [passage, *(begun(target, now) for _ in range(times - 1))]
        for one in passages:
            if outcome is not None:
                attempt = make_attempt(target.settings.name, outcome, seconds=seconds)
                one.ended(attempt, now, self.clock, lambda: 0.0)
            one.leave()

    @invariant()
    def the_quick_look_sees_what_a_close_one_does(self) -> None:
        now = self.clock.now()
        for target in self.targets:
            offered = target.offered(now)
            if target.is_resting(now) or not target.has_room(now):
                assert offered is None
            else:
                assert offered is not None
                assert offered.health == target.seen(now).health
                assert offered.health.in_flight == self._in_flight(target)
                assert (offered.health.state is HealthState.CLOSED) == self._is_closed(target)

    def _in_flight(self, target: Target) -> int:
        return sum(other.gauge is target.gauge for other, _ in self.under_way)

    def _is_closed(self, target: Target) -> bool:
        circuits = [target.gauge.circuit(whose) for whose in (Blame.SERVER, Blame.ACCOUNT)]
        return {circuit.breaker.state for circuit in circuits} == {HealthState.CLOSED}

    @rule(which=st.integers(0, 2))
    def give(self, which: int) -> None:
        target, now = self.targets[which], self.clock.now()
        figures = target.gauge.figures(now)
        self.had.append((target.seen(now), figures, p95(figures[-2:])))

    def teardown(self) -> None:
        """What plugins were given stays as it was, also if they look later."""
        for downstream, figures, p95_s in self.had:
            assert astuple(downstream.health)[1:] == (*figures[1:-2], p95_s)


TestTraffic = Traffic.TestCase
TestTraffic.settings = limited(max_examples=50, stateful_step_count=30, deadline=None)
