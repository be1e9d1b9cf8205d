"""What settings are when nothing is said, and what cannot be done to them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from smtp_router.config.load import parse
from smtp_router.config.settings import Downstream, Settings, User
from smtp_router.config.types import HostPort
from smtp_router.core.address import is_ehlo_name
from smtp_router.core.outcome import OutcomeKind
from tests.support import config_text, user_config


def read(text: str) -> Settings:
    return parse(text.encode(), Path("/etc/config.yaml"), environ={}).settings


def downstream(**keys: object) -> Downstream:
    (user,) = read(config_text(downstreams={"a": {"addr": "a.example:25", **keys}})).users
    return user.downstreams[0]


def test_defaults_are_those_of_the_issue() -> None:
    settings = read(config_text())
    assert [str(listener.addr) for listener in settings.listen] == ["127.0.0.1:1025"]
    assert (settings.deadline_s, settings.hook_timeout_s, settings.drain_s) == (120, 5, 30)
    assert not settings.allow_plaintext_auth
    assert not settings.allow_writable_plugins
    (user,) = settings.users
    assert user.plugins == ()
    assert user.outcomes_that_fail_over == {OutcomeKind.DEFERRED}
    assert (user.downstreams[0].tls, user.downstreams[0].tls_verify) == ("auto", True)
    assert dict(user.downstreams[0].options) == {}


def test_timeouts_are_at_least_those_of_the_rfc() -> None:
    """RFC 5321 4.5.3.2, bounded by the message's deadline anyway."""
    timeouts = read(config_text()).timeouts
    assert min(timeouts.banner_s, timeouts.mail_s, timeouts.rcpt_s) >= 5 * 60
    assert timeouts.data_s >= 2 * 60
    assert timeouts.final_s >= 10 * 60
    assert read(config_text()).idle_s >= 5 * 60


@pytest.mark.parametrize("local", ["mail.example.com", "under_score", "bücher", "a b", ""])
def test_the_default_host_name_can_be_said_in_smtp(local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: local)
    name = read(config_text()).hostname
    assert is_ehlo_name(name.encode())
    assert name == (local if is_ehlo_name(local.encode()) else "localhost")


@pytest.mark.parametrize(
    ("addr", "host", "port"),
    [
        ("smtp.example.com:587", "smtp.example.com", 587),
        ("127.0.0.1:25", "127.0.0.1", 25),
        ("[::1]:25", "::1", 25),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("under_score:1", "under_score", 1),
    ],
)
def test_an_address_is_a_host_and_a_port(addr: str, host: str, port: int) -> None:
    made = downstream(addr=addr)
    assert made.addr == HostPort(host=host, port=port)
    assert str(made.addr) == addr


@pytest.mark.parametrize(
    ("keys", "implicit"),
    [
        ({"addr": "a:465"}, True),
        ({"addr": "a:587"}, False),
        ({"addr": "a:465", "tls": "starttls"}, False),
        ({"addr": "a:465", "tls": "none"}, False),
        ({"addr": "a:587", "tls": "implicit"}, True),
    ],
    ids=str,
)
def test_implicit_tls_is_for_port_465_unless_said_otherwise(
    keys: dict[str, object], *, implicit: bool
) -> None:
    assert downstream(**keys).implicit_tls is implicit


@pytest.mark.parametrize("line", ["name: ''", "tls: auto"])
def test_a_downstream_without_a_name_is_named_by_its_address(line: str) -> None:
    (user,) = read(config_text().replace("name: a\n", f"{line}\n")).users
    assert user.downstreams[0].name == "a.example:25"


def test_a_plugin_by_its_name_alone_has_no_options() -> None:
    (user,) = read(config_text(plugins=["stamp", {"use": "./x.py", "options": {"a": [1]}}])).users
    assert [(use.use, dict(use.options)) for use in user.plugins] == [
        ("stamp", {}),
        ("./x.py", {"a": [1]}),
    ]


@pytest.mark.parametrize(
    "failover_on", [[], ["deferred"], ["in_doubt", "rejected", "deferred"]], ids=", ".join
)
def test_failover_on_is_given_in_words(failover_on: list[str]) -> None:
    (user,) = read(config_text(failover_on=failover_on)).users
    assert user.outcomes_that_fail_over == {OutcomeKind(word) for word in failover_on}


@pytest.mark.parametrize(
    ("keys", "fails_over"),
    [
        ({}, False),
        ({"in_doubt": "defer"}, False),
        ({"in_doubt": "accept", "failover_on": ["rejected"]}, False),
        ({"in_doubt": "failover"}, True),
        ({"in_doubt": "failover", "failover_on": ["rejected"]}, True),
        ({"in_doubt": "failover", "failover_on": ["in_doubt"]}, True),
        ({"failover_on": ["in_doubt"]}, True),
    ],
    ids=str,
)
def test_two_keys_say_whether_a_message_in_doubt_fails_over(
    keys: dict[str, Any], *, fails_over: bool
) -> None:
    (user,) = read(config_text(**keys)).users
    assert (OutcomeKind.IN_DOUBT in user.outcomes_that_fail_over) is fails_over


@pytest.mark.parametrize(
    "change",
    [
        lambda user: setattr(user, "email", "x"),
        lambda user: setattr(user.downstreams[0], "name", "x"),
        lambda user: setattr(user.downstreams[0].addr, "port", 1),
        lambda user: user.algorithm.options.update(a=1),
        lambda user: user.downstreams[0].options.update(a=1),
        lambda user: user.downstreams.append(1),
    ],
    ids=["user", "downstream", "address", "plugin's options", "downstream's options", "list"],
)
def test_settings_cannot_be_changed(change: object) -> None:
    (user,) = read(config_text()).users
    assert callable(change)
    with pytest.raises((ValidationError, AttributeError)):
        change(user)


def test_equal_texts_make_equal_settings() -> None:
    first, second = read(config_text()), read(config_text())
    assert first.users == second.users
    assert first.users[0].downstreams[0] == second.users[0].downstreams[0]
    other = read(config_text(user_config(password="other")))
    assert first.users != other.users
    assert isinstance(other.users[0], User)


def test_what_users_have_in_common_is_kept_once() -> None:
    entry = {"addr": "a.example:25", "user": "u", "pass": "p"}
    one, two = read(
        config_text(
            *(user_config(email=f"{name}@example.com", downstreams={"a": entry}) for name in "ab")
        )
    ).users
    assert one.algorithm is two.algorithm
    assert one.failover_on is two.failover_on
    (a,), (b,) = one.downstreams, two.downstreams
    assert (a.name is b.name, a.options is b.options) == (True, True)
    assert (a.limits is b.limits, a.pool is b.pool) == (True, True)


def test_what_differs_is_not_shared() -> None:
    users = (
        user_config(email=f"{weight}@example.com", algorithm={"use": "x", "options": {"weight": weight}})
        for weight in (1, 2)
    )
    one, two = read(config_text(*users)).users
    assert (one.algorithm.options, two.algorithm.options) == ({"weight": 1}, {"weight": 2})
