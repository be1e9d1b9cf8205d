"""A downstream that names its provider: what it need not say, and what it says all the same."""

from pathlib import Path

import pytest

from smtp_router import ConfigError, Deferred, Stage
from smtp_router.config.load import parse
from smtp_router.config.presets import Presets
from smtp_router.config.settings import Downstream
from smtp_router.core.replies import ReplyClass, judge
from tests.support import deferred, rejected

FILE = Path("config.yaml")
SES = "email-smtp.eu-west-1.amazonaws.com"
QUOTA = "454 Throttling failure: Daily message quota exceeded"


def load(*downstreams: str, **environ: str) -> list[Downstream]:
    """Downstreams, each given as a mapping in YAML's flow style."""
    lines = "".join(f"      - {one}\n" for one in downstreams)
    text = f"users:\n  - email: a\n    password: b\n    algorithm: x\n    downstreams:\n{lines}"
    (user,) = parse(text.encode(), FILE, environ=environ).settings.users
    return list(user.downstreams)


def problems(*downstreams: str) -> list[str]:
    """What is wrong, with the key below `users[0].`."""
    with pytest.raises(ConfigError) as raised:
        load(*downstreams)
    return [
        f"{it.line} {it.key.removeprefix('users[0].')}: {it.message}" for it in raised.value.problems
    ]


@pytest.mark.parametrize(
    ("given", "name", "addr", "tls"),
    [
        ("provider: sendgrid", "sendgrid", "smtp.sendgrid.net:587", "starttls"),
        ("provider: {use: sendgrid}", "sendgrid", "smtp.sendgrid.net:587", "starttls"),
        ("provider: fastmail", "fastmail", "smtp.fastmail.com:465", "implicit"),
        ("provider: postmark", "postmark", "smtp.postmarkapp.com:587", "starttls"),
        ("provider: {use: ses, region: eu-west-1}", "ses", f"{SES}:587", "starttls"),
        (f"provider: ses, addr: '{SES}:2465'", f"{SES}:2465", f"{SES}:2465", "implicit"),
        ("provider: ses, addr: 'localhost:2465'", "localhost:2465", "localhost:2465", "auto"),
        ("provider: sendgrid, name: x, tls: none", "x", "smtp.sendgrid.net:587", "none"),
        ("provider: sendgrid, tls: auto", "sendgrid", "smtp.sendgrid.net:587", "auto"),
        ("provider: '${env:WHO}'", "resend", "smtp.resend.com:587", "starttls"),
    ],
)
def test_what_the_provider_says_counts_where_nothing_else_is_said(
    given: str, name: str, addr: str, tls: str
) -> None:
    (downstream,) = load(f"{{{given}}}", WHO="resend")
    assert (downstream.name, str(downstream.addr), downstream.tls) == (name, addr, tls)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("provider: sendgird", "provider: is no provider that is known here: did you mean sendgrid?"),
        (
            "provider: {use: ses, region: eu-west-9}",
            "provider: is no region that is known here: did you mean eu-west-3?",
        ),
        ("provider: {use: mailgun, zone: eu}", "provider.zone: is not a key here"),
        ("provider: {region: eu}", "provider.use: is missing: add it"),
        ("provider: 5", "provider: must be a mapping (key: value)"),
        ("provider: ''", "provider.use: must not be empty"),
        ("provider: ../config", "provider: is no provider that is known here"),
        ("provider: mailgun", ": provider: name a region (us, eu), or give an addr"),
        (
            "provider: {use: mailgun, region: eu}, addr: 'a:1'",
            ": addr and the provider's region both say",
        ),
        ("provider: sendgrid, addr: a", "addr: must be HOST:PORT"),
        ("name: a", "addr: is missing: add it"),
    ],
)
def test_a_provider_that_leads_nowhere_is_one_problem(given: str, problem: str) -> None:
    (found,) = problems(f"{{{given}}}")
    prefix = "6 downstreams[0]"
    assert found.startswith(prefix + problem if problem[0] == ":" else f"{prefix}.{problem}")


def test_two_of_one_provider_need_names() -> None:
    assert problems("{provider: sendgrid}", "{provider: {use: sendgrid}}") == [
        "7 downstreams[1].provider: is the name of downstreams[0], too: add another name"
    ]
    assert len(load("{provider: sendgrid}", "{provider: sendgrid, name: second}")) == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("match: '(', class: quota", "[0].match: is no regular expression: unclosed group"),
        ("match: 5, class: quota", "[0].match: must be a regular expression in quotes"),
        ("class: quota", "[0].match: is missing: add it"),
        ("match: a", "[0].class: is missing: add it"),
        (
            "match: a, class: slow",
            "[0].class: must be 'deferred', 'rejected', 'quota', 'auth' or 'ignore'",
        ),
        ("match: a, class: quota, stages: [late]", "[0].stages[0]: must be"),
        ("match: a, class: quota, stages: rcpt", "[0].stages: must be a list"),
        ("match: a, class: quota, rest_s: 0", "[0].rest_s: must be more than 0"),
        ("match: a, class: quota, rest_s: 86401", "[0].rest_s: must be at most 86400"),
        ("match: a, class: ignore, rest_s: 5", "[0]: rest_s does nothing for the class ignore"),
        ("match: a, class: rejected, rest_s: 5", "[0]: rest_s does nothing for the class rejected"),
        (
            "match: a, class: rejected, stages: [ehlo, auth]",
            "[0]: stages: before mail there is no message",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_a_problem(given: str, problem: str) -> None:
    (found,) = problems(f"{{addr: 'a:1', replies: [{{{given}}}]}}")
    assert found.startswith(f"6 downstreams[0].replies{problem}")


def test_without_rules_there_are_none() -> None:
    (plain,) = load("{addr: 'a:1'}")
    assert plain.rules == ()


def test_own_rules_come_before_the_providers() -> None:
    (downstream,) = load(
        "{provider: ses, addr: 'a:1', replies: [{match: '^454 .*quota', class: ignore}, "
        "{match: '^5', class: deferred, stages: [final]}]}"
    )
    own = ["replies[0]", "replies[1]"]
    assert [rule.name for rule in downstream.rules][:2] == own
    assert downstream.rules[2:] == Presets().get("ses").rules
    assert judge(deferred(QUOTA), downstream.rules).reason == "ignore by replies[0]"
    assert isinstance(judge(rejected(stage=Stage.FINAL), downstream.rules), Deferred)
    assert judge(rejected(stage=Stage.MAIL), downstream.rules) == rejected(stage=Stage.MAIL)


def test_a_rule_is_what_the_configuration_says() -> None:
    (downstream,) = load(
        "{addr: 'a:1', replies: [{match: '^452', class: quota, stages: [mail, rcpt], rest_s: 60}]}"
    )
    (rule,) = downstream.rules
    assert rule.reply_class is ReplyClass.QUOTA
    assert rule.stages == {Stage.MAIL, Stage.RCPT}
    outcome = judge(deferred("452 no more"), downstream.rules)
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == 60


def test_the_same_settings_are_equal_and_others_are_not() -> None:
    """A reload keeps the figures of a downstream whose settings did not change."""
    given = "{provider: sendgrid, replies: [{match: a, class: quota}]}"
    assert load(given) == load(given)
    assert load(given) != load(given.replace("match: a", "match: b"))
    assert load(given) != load(given.replace("provider: sendgrid", "addr: 'smtp.sendgrid.net:587'"))


def test_a_providers_file_is_read_once_for_a_configuration() -> None:
    first, second = load("{provider: sendgrid}", "{provider: sendgrid, name: b}")
    assert first.rules[0] is second.rules[0]


def test_the_providers_limits_count_where_no_others_are_given() -> None:
    office, mixed = load(
        "{provider: office365, user: a, pass: b}",
        "{provider: office365, name: x, user: a, pass: b, limits: {per_day: 5, per_hour: 9}}",
    )
    assert (office.limits.concurrency, office.limits.per_day) == (3, 10_000)
    assert (mixed.limits.concurrency, mixed.limits.per_day, mixed.limits.per_hour) == (3, 5, 9)


def test_connections_are_kept_as_the_provider_wants_it_and_never_for_longer_than_usual() -> None:
    office, labs, grid, own, other = load(
        "{provider: office365, user: a, pass: b}",
        "{provider: socketlabs}",
        "{provider: sendgrid}",
        "{provider: socketlabs, name: own, pool: {max_messages_per_connection: 7, idle_s: 5}}",
        "{addr: 'a.example:25'}",
    )
    assert office.pool.max_connections == 3
    assert (labs.pool.max_messages_per_connection, labs.pool.max_connections) == (50, 10)
    assert grid.pool == other.pool  # 5,000 messages would be more than usual
    assert (own.pool.max_messages_per_connection, own.pool.idle_s) == (7, 5)


@pytest.mark.parametrize("key", ["limits", "pool"])
def test_limits_that_are_none_are_one_problem(key: str) -> None:
    (problem,) = problems(f"{{provider: office365, user: a, pass: b, {key}: 5}}")
    assert f"{key}: must be a mapping" in problem
