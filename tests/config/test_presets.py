"""The providers' files: each fact has its source, each known reply is understood as it says."""

import re
from copy import deepcopy
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from smtp_router import Deferred, Rejected, Stage
from smtp_router.config.presets import Presets
from smtp_router.config.provider import KnownReply, Provider
from smtp_router.config.types import HostPort, host_port
from smtp_router.core.outcome import SESSION_STAGES
from smtp_router.core.replies import judge
from tests.support import deferred, make_reply, rejected

PRESETS = Presets()
PROVIDERS = [PRESETS.get(name) for name in PRESETS.names]
REPLIES = [(provider, reply) for provider in PROVIDERS for reply in provider.replies]
ISSUE = {"sendgrid", "ses", "mailgun", "postmark", "mailjet", "brevo", "gmail", "office365"}

GOOD: dict[str, Any] = yaml.safe_load("""
name: good
title: Good Mail
sources:
  a: {url: "https://good.example/smtp", seen: 2026-11-22}
hosts:
  us: {value: us.good.example, source: a}
  eu: {value: eu.good.example, source: a}
ports:
  "587": {value: starttls, source: a}
  "465": {value: implicit, source: a}
limits:
  per_second: {value: 5, source: a}
replies:
  - {match: "^450 slow", class: quota, rest_s: 5, example: 450 slow down, source: a}
""")


def with_changes(**changes: object) -> dict[str, Any]:
    """`GOOD`, with `__` in the names of what is further down; `None` takes a key out."""
    file = deepcopy(GOOD)
    for path, value in changes.items():
        *way, last = path.split("__")
        part: Any = file
        for step in way:
            part = part[int(step) if step.isdigit() and isinstance(part, list) else step]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return file


def test_the_promised_providers_are_there() -> None:
    assert set(PRESETS.names) >= ISSUE


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_a_provider_can_be_reached_in_each_of_its_regions(provider: Provider) -> None:
    for region in provider.hosts:
        addr = provider.addr(region)
        assert addr is not None
        assert host_port(str(addr)) == addr
        assert provider.tls(addr) in {"starttls", "implicit"}


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_the_usual_ports_have_the_usual_tls(provider: Provider) -> None:
    tls = {port: fact.value for port, fact in provider.ports.items()}
    assert next(iter(tls)) in {465, 587}
    assert tls.get(587, "starttls") == "starttls"
    assert tls.get(465, "implicit") == "implicit"


@pytest.mark.parametrize(
    ("provider", "reply"), REPLIES, ids=[f"{one.name}-{reply.example[:20]}" for one, reply in REPLIES]
)
def test_a_known_reply_is_understood_as_its_file_says(provider: Provider, reply: KnownReply) -> None:
    said = make_reply(reply.example)
    assert str(said) == reply.example, "an example is written as the log shows it"
    stage = min(reply.stages or {"auth" if reply.reply_class == "auth" else "final"})
    for_good = said.is_permanent and Stage(stage) not in SESSION_STAGES
    refusal = (rejected if for_good else deferred)(reply.example, Stage(stage))
    outcome = judge(refusal, provider.rules)
    assert outcome.reason == f"{reply.reply_class} by {provider.name}: {reply.match}"
    match reply.reply_class:
        case "deferred" | "quota" | "auth":
            assert isinstance(outcome, Deferred)
            assert outcome.rest_s > 0
            assert outcome.neutral == (reply.reply_class == "quota")
        case _:
            assert isinstance(outcome, Rejected)


@pytest.mark.parametrize(
    ("provider", "reply"), REPLIES, ids=[f"{one.name}-{reply.example[:20]}" for one, reply in REPLIES]
)
def test_a_known_reply_is_known_by_its_code(provider: Provider, reply: KnownReply) -> None:
    """Words alone may stand in anybody's reply, as in one that a recipient's server wrote."""
    assert re.match(r"\^[45]\d\d ", str(reply.match)), provider.name


def test_a_sound_file_is_taken() -> None:
    provider = Provider.model_validate(GOOD)
    assert provider.addr("eu") == HostPort(host="eu.good.example", port=587)
    assert provider.addr(None) is None
    assert provider.limit_defaults == {"per_second": 5}
    assert [rule.name for rule in provider.rules] == ["good: ^450 slow"]
    assert provider.tls(HostPort(host="us.good.example", port=465)) == "implicit"
    assert provider.tls(HostPort(host="us.good.example", port=25)) == "auto"
    assert provider.tls(HostPort(host="127.0.0.1", port=465)) == "auto"


def test_one_host_or_a_default_needs_no_region() -> None:
    assert Provider.model_validate(with_changes(hosts__us=None)).addr(None) == HostPort(
        host="eu.good.example", port=587
    )
    assert Provider.model_validate(with_changes(default_region="us")).addr(None) == HostPort(
        host="us.good.example", port=587
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"color": "red"},
        {"title": None},
        {"hosts": {}},
        {"ports": {}},
        {"hosts__us": "us.good.example"},
        {"hosts__us__source": None},
        {"hosts__us__source": "b"},
        {"ports__587__value": "none"},
        {"ports": {"smtp": {"value": "starttls", "source": "a"}}},
        {"limits__per_second__value": 0},
        {"limits__per_second__source": None},
        {"limits__per_year": {"value": 5, "source": "a"}},
        {"max_recipients": 5},
        {"max_recipients": {"value": 5, "source": "b"}},
        {"replies__0__source": None},
        {"replies__0__source": "b"},
        {"replies__0__example": None},
        {"replies__0__match": "("},
        {"replies__0__class": "slow"},
        {"sources__b": {"url": "https://good.example/", "seen": "2026-11-22"}},
        {"sources__a__url": "http://good.example/"},
        {"sources__a__url": "everybody knows"},
        {"sources__a__seen": None},
        {"sources__a__seen": "lately"},
        {"default_region": "mars"},
    ],
    ids=str,
)
def test_what_is_missing_unknown_or_without_a_source_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Provider.model_validate(with_changes(**changes))
