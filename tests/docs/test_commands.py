"""docs/commands.md has every command and option, and every event and field of the log."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from smtp_router.config.load import parse
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import build
from smtp_router.routing.router import Router
from tests.docs.commands import commands
from tests.docs.pages import DOCS, ROOT, sections, unquoted
from tests.support import (
    ScriptedSender,
    VirtualClock,
    config_text,
    delivered,
    make_message,
    unreachable,
)

PAGE = DOCS / "commands.md"
COMMANDS = commands()


def test_every_command_is_in_the_reference() -> None:
    told = [title for title in sections(PAGE) if title.startswith("smtp-router ")]
    assert sorted(told) == [f"smtp-router {name}" for name in sorted(COMMANDS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_reference_with_its_default(name: str) -> None:
    told = {
        tuple(re.findall(r"`([^`]+)`", option)): unquoted(default)
        for option, default, _ in sections(PAGE)[f"smtp-router {name}"].rows
    }
    parameters = [one for one in COMMANDS[name].params if isinstance(one, click.Option)]
    assert told == {tuple(parameter.opts): shown_default(parameter) for parameter in parameters}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_choice_of_an_option_is_in_the_reference(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.type, click.Choice):
            text = sections(PAGE)[f"smtp-router {name}"].text
            assert all(f"`{choice}`" in text for choice in parameter.type.choices)


def shown_default(parameter: click.Parameter) -> str:
    assert isinstance(parameter, click.Option)
    if parameter.is_flag:
        return "off"
    shown = parameter.show_default
    if isinstance(shown, str):
        return shown
    default = parameter.to_info_dict()["default"]
    return "none" if default in {None, ()} else str(default)


# The log.


def test_every_event_of_the_log_is_in_the_reference() -> None:
    events, _ = sections(PAGE)["The log"].tables
    told = {unquoted(event) for event, *_ in events[1:]}
    assert told == {event.replace("%s", "HOST:PORT") for event in events_in_the_code()}


async def test_every_field_of_an_attempt_and_a_message_is_in_the_reference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = config_text(algorithm="failover")
    epoch = build(parse(text.encode(), tmp_path / "config.yaml"), Registry())
    sender = ScriptedSender({"a": unreachable(), "b": delivered()})
    epochs: Any = SimpleNamespace(current=epoch)  # which never has to be refreshed here
    router = Router(epochs, sender, VirtualClock(), chance=lambda: 0.0)
    await router.route(make_message())
    _, table = sections(PAGE)["The log"].tables
    logged: dict[str, set[str]] = {"attempt": set(), "message": set()}
    for record in caplog.records:
        logged.get(record.getMessage(), set()).update(getattr(record, "fields", {}))
    for event, names in logged.items():
        assert names == {
            unquoted(name) for name, where, _ in table[1:] if unquoted(where) in ("both", event)
        }


def events_in_the_code() -> Iterator[str]:
    """What every call of a logger says, or of one of the functions that pass it on."""
    for file in (ROOT / "smtp_router").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                ours = ("._log_failure", "._complain", "._journal.write", "._as_line", "self.write")
                if called.startswith("log.") or called.endswith(ours):
                    said = [one.value for one in node.args[:4] if isinstance(one, ast.Constant)]
                    yield from map(str, said)
