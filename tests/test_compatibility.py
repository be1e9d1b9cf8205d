"""What plugins rely on stays: the public interface against that of the last release."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import public_api
from tests.public_api import broken, describe, last, may_break, version

Edit = Callable[[Any], object]


def test_nothing_is_taken_away_unless_the_version_allows_it() -> None:
    before = last()
    if not may_break(before["version"], version()):
        assert broken(before, describe()) == []


@pytest.mark.skipif(last()["released"], reason="is frozen: there has been a release")
def test_until_there_is_a_release_the_file_follows_the_code() -> None:
    described = {key: value for key, value in last().items() if key != "released"}
    assert described == {"version": version(), **describe()}, "run: python -m tests.public_api"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda api: api["smtp_router"].pop("note"), "smtp_router.note is gone"),
        (lambda api: api["hooks"].pop("close"), "hooks.close is gone"),
        (lambda api: api["given"].pop("Clock"), "given.Clock is gone"),
        (
            lambda api: api["smtp_router"]["Message"]["members"].pop("size"),
            "smtp_router.Message.members.size is gone",
        ),
        (
            lambda api: api["smtp_router"]["Message"]["members"]["size"].update(type="str"),
            "smtp_router.Message.members.size.type was int, and is str",
        ),
        (
            lambda api: api["smtp_router"]["Stage"]["members"]["DATA"].update(value="Data"),
            "smtp_router.Stage.members.DATA.value was data, and is Data",
        ),
        (
            lambda api: api["smtp_router"]["Message"]["made"]["takes"].pop("session"),
            "smtp_router.Message.made: the argument session is gone",
        ),
        (
            lambda api: api["smtp_router"]["Message"]["made"]["takes"]["session"].update(needed=True),
            "smtp_router.Message.made: session cannot be given, or left out, as it could",
        ),
        (
            lambda api: api["smtp_router"]["note"]["call"]["takes"]["text"].update(kind="keyword_only"),
            "smtp_router.note.call: text cannot be given, or left out, as it could",
        ),
        (
            lambda api: api["smtp_router"]["note"]["call"].update(returns="str"),
            "smtp_router.note.call.returns was None, and is str",
        ),
        (
            lambda api: api["smtp_router"]["note"]["call"]["takes"].update(level=argument(needed=True)),
            "smtp_router.note.call: level is new and has no default",
        ),
        (
            lambda api: api["hooks"]["before_send"]["takes"].pop("downstream"),
            "hooks.before_send: the argument downstream is gone",
        ),
        (
            lambda api: api["hooks"]["before_send"]["takes"]["message"].update(type="bytes"),
            "hooks.before_send: message was Message, and is bytes",
        ),
        (
            lambda api: api["smtp_router.testing"].pop("conformance"),
            "smtp_router.testing.conformance is gone",
        ),
    ],
)
def test_what_is_gone_or_not_as_it_was_is_found(edit: Edit, problem: str) -> None:
    api = describe()
    edit(api)
    assert problem in broken(describe(), api)


def argument(*, needed: bool) -> dict[str, object]:
    return {"kind": "positional_or_keyword", "type": "str", "needed": needed}


def test_another_order_of_arguments_is_found() -> None:
    api = describe()
    takes = api["smtp_router.testing"]["make_plugin"]["call"]["takes"]
    takes["target"] = takes.pop("target")
    (problem,) = broken(describe(), api)
    assert problem.endswith("was ['target', 'options'], and is ['options', 'target']")


@pytest.mark.parametrize(
    "edit",
    [
        lambda api: api["smtp_router"].update(New={"kind": "class", "made": None, "members": {}}),
        lambda api: api["smtp_router"]["Message"]["members"].update(new={"type": "str"}),
        lambda api: api["smtp_router"]["note"]["call"]["takes"].update(level=argument(needed=False)),
        lambda api: api["hooks"].update(new={"takes": {}, "returns": "None"}),
        lambda api: api["hooks"]["before_send"]["takes"].update(new=argument(needed=True)),
        lambda api: api["hooks"]["close"]["takes"].update(new=argument(needed=True)),
        lambda api: api["given"].update(new="type"),
    ],
)
def test_an_addition_breaks_nothing(edit: Edit) -> None:
    api = describe()
    edit(api)
    assert api != describe()
    assert broken(describe(), api) == []


def test_every_name_is_missed_when_it_is_gone() -> None:
    api = describe()
    for part, names in api.items():
        for name in names:
            less = {**api, part: {key: value for key, value in names.items() if key != name}}
            assert broken(api, less) == [f"{part}.{name} is gone"]


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.0.0", "1.0.1", False),
        ("1.0.0", "1.1.0", False),
        ("1.9.0", "2.0.0", True),
        ("0.1.0", "0.1.0", False),
    ],
)
def test_only_a_major_version_may_break_plugins_or_a_minor_one_below_1(
    before: str, after: str, *, allowed: bool
) -> None:
    assert may_break(before, after) is allowed


def test_what_was_released_changes_with_a_release_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_api, "FILE", tmp_path / "api.json")
    public_api.write(released=False)
    public_api.write(released=True)
    assert last()["released"]
    with pytest.raises(SystemExit, match="--release"):
        public_api.write(released=False)
    public_api.write(released=True)
