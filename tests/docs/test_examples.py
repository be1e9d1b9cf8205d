"""The files in examples/ work as they say, loaded as the router loads them."""

import itertools
import re
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Message
from smtp_router.cli.commands import commands as program
from smtp_router.config.explain import keys_of
from smtp_router.config.pool import PoolLimits
from tests.docs.asking import MESSAGES, ask, go_through, load
from tests.docs.pages import ROOT
from tests.docs.test_configuration import MODELS, defaults_of
from tests.support import make_downstream, make_message

EXAMPLES = ROOT / "examples"
NAMES = ("main", "bulk", "night")

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "algorithms/by_header.py": {},
    "algorithms/by_recipient_domain.py": {"routes": {"Example.org": "bulk", "example.net": "main"}},
    "algorithms/by_time_of_day.py": {"name": "night", "start": 22, "end": 6},
    "plugins/stamp.py": {},
}


def at(hour: int, minute: int = 0, offset_h: int = 0) -> Message:
    zone = timezone(timedelta(hours=offset_h))
    return make_message(received_at=datetime(2026, 5, 4, hour, minute, tzinfo=zone))


def to(*addresses: str) -> Message:
    return make_message(rcpt_tos=addresses)


def with_route(value: bytes) -> Message:
    return make_message(content=b"Subject: x\r\nx-route: " + value + b"\r\n\r\nX-Route: bulk\r\n")


def test_every_example_is_tested_here() -> None:
    assert {str(file.relative_to(EXAMPLES)) for file in EXAMPLES.rglob("*.py")} == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
async def test_no_history_makes_an_example_fail(name: str) -> None:
    plugin = load(EXAMPLES, name, OPTIONS[name])
    for count in range(1, len(NAMES) + 1):
        for message, names in itertools.product(MESSAGES, itertools.permutations(NAMES, count)):
            assert sorted(await go_through(plugin, message, names)) == sorted(names)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("algorithms/")])
def test_an_algorithm_is_about_ten_lines(name: str) -> None:
    source = re.sub(r'""".*?"""', "", (EXAMPLES / name).read_text("utf-8"), flags=re.DOTALL)
    code = [line for line in source.splitlines() if line.strip() and "import" not in line]
    assert len(code) <= 12


@pytest.mark.parametrize(
    ("message", "offered", "expected"),
    [
        (to("a@example.org"), NAMES, "bulk"),
        (to("a@EXAMPLE.ORG", "b@example.org"), NAMES, "bulk"),
        (to("a@example.net"), NAMES, "main"),
        (to("a@elsewhere.example"), NAMES, "main"),
        (to("a@example.org", "b@example.net"), NAMES, "main"),
        (to("a@example.org", "b@elsewhere.example"), NAMES, "main"),
        (to("a@sub.example.org"), NAMES, "main"),
        (to("postmaster"), NAMES, "main"),
        (to("a@example.org"), ("main", "night"), "main"),
        (to("a@example.org"), ("night",), "night"),
    ],
)
async def test_by_recipient_domain(message: Message, offered: tuple[str, ...], expected: str) -> None:
    name = "algorithms/by_recipient_domain.py"
    assert await ask(load(EXAMPLES, name, OPTIONS[name]), message, offered) == expected


@pytest.mark.parametrize(
    ("message", "offered", "expected"),
    [
        (with_route(b"bulk"), NAMES, "bulk"),
        (with_route(b"  NIGHT"), NAMES, "night"),
        (with_route(b"nowhere"), NAMES, "main"),
        (make_message(), NAMES, "main"),
        (with_route(b"bulk"), ("main", "night"), "main"),
    ],
)
async def test_by_header(message: Message, offered: tuple[str, ...], expected: str) -> None:
    assert await ask(load(EXAMPLES, "algorithms/by_header.py", {}), message, offered) == expected


@pytest.mark.parametrize(
    ("message", "offered", "expected"),
    [
        (at(21, 59), NAMES, "main"),
        (at(22), NAMES, "night"),
        (at(0), NAMES, "night"),
        (at(5, 59), NAMES, "night"),
        (at(6), NAMES, "main"),
        (at(22), ("main", "bulk"), "main"),
        (at(12), ("night",), "night"),
        (at(23, offset_h=2), NAMES, "main"),  # 21 o'clock in UTC
    ],
)
async def test_by_time_of_day(message: Message, offered: tuple[str, ...], expected: str) -> None:
    name = "algorithms/by_time_of_day.py"
    assert await ask(load(EXAMPLES, name, OPTIONS[name]), message, offered) == expected


async def test_by_time_of_day_goes_by_its_zone() -> None:
    options = {"name": "night", "start": 22, "end": 6, "zone": "Europe/Berlin"}
    algorithm = load(EXAMPLES, "algorithms/by_time_of_day.py", options)
    assert await ask(algorithm, at(20), NAMES) == "night"  # 22 o'clock there, in summer
    assert await ask(algorithm, at(19, 59), NAMES) == "main"


@given(
    start=st.integers(0, 23),
    end=st.integers(0, 23),
    hour=st.integers(0, 23),
)
async def test_by_time_of_day_splits_the_day_in_two(start: int, end: int, hour: int) -> None:
    options = {"name": "night", "start": start, "end": end}
    algorithm = load(EXAMPLES, "algorithms/by_time_of_day.py", options)
    hours = set(range(start, end)) if start <= end else {*range(start, 24), *range(end)}
    assert await ask(algorithm, at(hour), NAMES) == ("night" if hour in hours else "main")


@pytest.mark.parametrize(("options", "field"), [({}, "X-Routed-Via"), ({"field": "X-A"}, "X-A")])
async def test_stamp_names_the_downstream_on_top(options: Mapping[str, object], field: str) -> None:
    plugin, message = load(EXAMPLES, "plugins/stamp.py", options), make_message()
    stamped = await plugin.before_send(message, make_downstream("bulk"))
    assert stamped.content == f"{field}: bulk\r\n".encode() + message.content


# The configurations.


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy that only we may write, wherever the repository stands."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    return folder


def test_the_whole_configuration_passes_check(examples: Path) -> None:
    text = (EXAMPLES / "config.yaml").read_text("utf-8")
    (command,) = re.findall(r"^#   (.*) smtp-router check -c examples/config.yaml$", text, re.MULTILINE)
    told = dict(word.split("=") for word in command.split())
    assert told.keys() == set(re.findall(r"\$\{env:(\w+)\}", text))
    result = CliRunner().invoke(program, ["check", "-c", str(examples / "config.yaml")], env=told)
    assert result.exit_code == 0, result.output
    assert "user app@example.com\n  plugin" in result.output


def test_the_short_form_passes_check(examples: Path) -> None:
    result = CliRunner().invoke(program, ["check", "-c", str(examples / "short.yaml")])
    assert result.exit_code == 0, result.output
    assert "algorithm   ./algorithms/by_header.py" in result.output


def test_the_whole_configuration_has_every_key() -> None:
    text = (EXAMPLES / "config.yaml").read_text("utf-8")
    shown = set(re.findall(r"(?:^|[\s{#-])([a-z_]+):(?=\s|$)", text, re.MULTILINE))
    for model in MODELS:
        assert keys_of(model).keys() <= shown


def test_the_whole_configuration_shows_the_defaults() -> None:
    """But for what differs on every machine, and what no default can be."""
    text = (EXAMPLES / "config.yaml").read_text("utf-8")
    for model in MODELS:
        part = text[text.index(" pool:") :] if model is PoolLimits else text
        found = re.findall(r"^ *([a-z_]+): ([\w.]+)(?: #.*)?$", part, re.MULTILINE)
        shown = dict(reversed(found))  # a key that users have, too, stands on top first
        for key, default in defaults_of(model).items():
            if isinstance(default, bool | int | float):
                assert shown[key] == str(default).lower(), key
