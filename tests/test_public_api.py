"""What plugin authors may rely on: these names, these fields, and nothing done at import."""

import dataclasses
import inspect
import subprocess
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from types import FunctionType, ModuleType, NoneType

import pytest

import smtp_router
from smtp_router import Attempt, Delivered, Downstream, Message, Session
from smtp_router.hooks import spec
from smtp_router.hooks.constructor import Constructor
from smtp_router.hooks.plugin import Validator, target_of
from tests.support import make_downstream, make_giver, make_message

NAMES = {
    "TLS",
    "Algorithm",
    "Algorithms",
    "Attempt",
    "Clock",
    "ConfigError",
    "Defer",
    "Deferred",
    "Delivered",
    "Downstream",
    "Headers",
    "Health",
    "HealthState",
    "InDoubt",
    "Message",
    "Outcome",
    "PluginError",
    "Reject",
    "Rejected",
    "Reply",
    "Session",
    "SmtpRouterError",
    "Stage",
    "hookimpl",
    "note",
}


def test_the_public_names_are_these() -> None:
    assert set(smtp_router.__all__) == NAMES
    assert len(smtp_router.__all__) == len(NAMES)
    public = {
        name
        for name, value in vars(smtp_router).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == NAMES


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "Message",
            "id user mail_from rcpt_tos content session received_at mail_parameters rcpt_parameters",
        ),
        ("Session", "peer peer_port ehlo esmtp tls authenticated"),
        ("TLS", "version cipher"),
        ("Downstream", "name host port options health"),
        (
            "Health",
            "state in_flight delivered failed consecutive_failures success_rate latency_s p95_s",
        ),
        ("Reply", "code enhanced text"),
        ("Attempt", "downstream outcome seconds"),
        ("Delivered", "stage reply reason"),
        ("Deferred", "stage reply reason incapable rest_s neutral"),
        ("Rejected", "stage reply reason"),
        ("InDoubt", "stage reply reason"),
    ],
)
def test_the_values_have_these_fields(name: str, fields: str) -> None:
    value = getattr(smtp_router, name)
    assert [field.name for field in dataclasses.fields(value) if field.init] == fields.split()


@pytest.mark.parametrize(
    ("hook", "types"),
    [
        (
            spec.select_downstream,
            {
                "message": Message,
                "downstreams": Sequence[Downstream],
                "attempts": Sequence[Attempt],
                "return": Downstream | None,
            },
        ),
        (
            spec.before_send,
            {"message": Message, "downstream": Downstream, "return": Message | None},
        ),
        (spec.after_send, {"message": Message, "attempt": Attempt, "return": NoneType}),
        (spec.check_downstreams, {"downstreams": Sequence[Downstream], "return": NoneType}),
        (spec.close, {"return": NoneType}),
    ],
)
def test_the_hooks_have_these_arguments(hook: FunctionType, types: dict[str, object]) -> None:
    assert typing.get_type_hints(hook) == types
    assert inspect.getdoc(hook)


def test_every_public_name_is_documented() -> None:
    documented = (getattr(smtp_router, name) for name in NAMES - {"Outcome", "hookimpl"})
    assert [value for value in documented if not inspect.getdoc(value)] == []


def test_the_example_at_the_top_is_an_algorithm() -> None:
    lines = (smtp_router.__doc__ or "").splitlines()
    example = ModuleType("example")
    exec("\n".join(line[4:] for line in lines if line.startswith("    ")), example.__dict__)  # noqa: S102
    (call,) = Validator().calls(
        "example", Constructor(target_of("example", example)).make("example", {}, make_giver())
    )
    offered = [make_downstream("a"), make_downstream("b")]
    assert call.hook == "select_downstream"
    assert call.function(downstreams=offered) is offered[0]


def test_a_plugins_test_can_make_all_values_itself() -> None:
    message = make_message(session=Session(peer="192.0.2.1", ehlo="client.example"))
    assert isinstance(message, Message)
    assert isinstance(make_downstream(), Downstream)
    assert str(Delivered()) == "delivered at final"


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(inspect.getfile(smtp_router)).with_name("py.typed").is_file()


def test_an_import_loads_no_more_than_plugins_need() -> None:
    """Neither the wire nor the configuration's libraries: a plugin's tests need not wait for them."""
    code = """\
        import logging, sys, threading
        import smtp_router
        heavy = {"aiosmtpd", "aiosmtplib", "pydantic", "yaml", "click", "uvloop", "asyncio"}
        print(sorted(heavy & set(sys.modules)), threading.active_count(), logging.root.handlers)
        """
    result = subprocess.run(  # noqa: S603 - the interpreter and the words above
        [sys.executable, "-c", dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert (result.stdout, result.stderr) == ("[] 1 []\n", "")
