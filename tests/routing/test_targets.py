"""What targets share."""

import gc
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Outcome, Stage
from smtp_router.config.load import load
from smtp_router.config.settings import Settings
from smtp_router.routing.target import Target
from smtp_router.routing.targets import Targets
from tests.routing.bench import rest
from tests.support import config_text, deferred, unreachable

LOGIN = {"addr": "a.example:25", "user": "apikey", "pass": "s3cret"}


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
