"""What may stand in `limits` and `health`, and what has to agree."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from smtp_router import ConfigError
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.core.periods import Kind
from tests.support import config_text, user_config


def limited(name: str, **limits: object) -> Mapping[str, Mapping[str, object]]:
    return {name: {"addr": f"{name}.example:25", "limits": limits}}


def settings(*users: Mapping[str, object], **more: object) -> Settings:
    return parse(config_text(*users, settings=more).encode(), Path("config.yaml")).settings


def problems(*users: Mapping[str, object], **more: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        settings(*users, **more)
    return [f"{problem.key}: {problem.message}" for problem in refused.value.problems]


def test_each_downstream_has_a_quota_under_a_name_of_its_own() -> None:
    users = [
        user_config(email="one", downstreams={**limited("a", per_day=3), **limited("b")}),
        user_config(email="two", downstreams=limited("a", per_month=4)),
    ]
    assert settings(*users).quotas == {
        "one/a": {Kind.DAY: 3},
        "two/a": {Kind.MONTH: 4},
    }


def test_what_is_counted_together_has_one_quota_which_stands_anywhere() -> None:
    users = [
        user_config(email="one", downstreams=limited("a", counted_as="x")),
        user_config(email="two", downstreams=limited("a", counted_as="x", per_day=4)),
        user_config(email="three", downstreams=limited("a", counted_as="x", per_day=4, per_month=5)),
    ]
    assert settings(*users).quotas == {"x": {Kind.DAY: 4, Kind.MONTH: 5}}


def test_quotas_of_what_is_counted_together_must_not_differ() -> None:
    users = [
        user_config(email="one", downstreams=limited("a", counted_as="x", per_day=3)),
        user_config(email="two", downstreams=limited("a", counted_as="x", per_day=4, per_hour=1)),
        user_config(email="three", downstreams=limited("a", counted_as="x", per_hour=2)),
    ]
    assert problems(*users) == [
        "users[0].downstreams[0].limits.per_day: is 4 elsewhere: what is counted together has one quota"
    ]


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"per_day": 0}, "limits.per_day: must be more than 0"),
        ({"per_day": True}, "limits.per_day: must be a number"),
        ({"per_week": 3}, "limits.per_week: is not a key here: the keys are concurrency, "),
        ({"wait_s": 0}, "limits.wait_s: must be more than 0"),
        ({"counted_as": ""}, "limits.counted_as: "),
    ],
)
def test_a_limit_that_is_none_is_an_error(limits: dict[str, object], problem: str) -> None:
    (found,) = problems(user_config(downstreams=limited("a", **limits)))
    assert found.startswith(f"users[0].downstreams[0].{problem}")


@pytest.mark.parametrize(
    ("health", "problem"),
    [
        ({"failure_rate": 1.5}, "health.failure_rate: must be at most 1"),
        ({"failure_rate": 0}, "health.failure_rate: must be more than 0"),
        ({"failures": 0}, "health.failures: must be more than 0"),
        ({"rest_s": 60, "max_rest_s": 30}, "health: max_rest_s is shorter than rest_s"),
        ({"rests": 3}, "health.rests: is not a key here: did you mean rest_s?"),
    ],
)
def test_rules_of_health_that_make_no_sense_are_an_error(
    health: dict[str, object], problem: str
) -> None:
    (found,) = problems(user_config(), health=health)
    assert found.startswith(problem)


def test_rules_of_health_are_those_of_the_core() -> None:
    rules = settings(user_config(), health={"failures": 7, "max_rest_s": 60}).health.rules
    assert (rules.failures, rules.failure_rate, rules.rest_s, rules.max_rest_s) == (7, 0.5, 5, 60)
