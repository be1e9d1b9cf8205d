"""docs/testing.md has every public name of the kit, with what it takes; its test files pass."""

import inspect
import re

import pytest

from smtp_router import testing
from smtp_router.testing.conformance import CHECKS
from tests.docs.pages import DOCS, Block, all_blocks, prose, sections, text_of, unquoted

PAGE = DOCS / "testing.md"
CODE = " ".join(re.findall(r"`([^`]+)`", prose(PAGE)))


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"\b{name}\b", CODE) or name in {"Normal", "Plan", "Script", "Step", "STAGES"}


FUNCTIONS = [name for name in testing.__all__ if inspect.isfunction(getattr(testing, name))]


@pytest.mark.parametrize("name", [*FUNCTIONS, "RunningRouter", "VirtualClock"])
def test_every_function_is_there_with_all_it_takes(name: str) -> None:
    assert f"`{name}({arguments_of(getattr(testing, name))})`" in text_of(PAGE)


@pytest.mark.parametrize("name", ["LoadedPlugin", "RouterLog", "RunningRouter", "VirtualClock"])
def test_every_method_is_there_with_all_it_takes(name: str) -> None:
    kind = getattr(testing, name)
    for member, value in vars(kind).items():
        if inspect.isfunction(value) and member[0] != "_":
            assert f"`{member}({arguments_of(value)})`" in text_of(PAGE)
        elif member[0] != "_":
            assert f"`{member}`" in text_of(PAGE)


@pytest.mark.parametrize(
    ("section", "function"),
    [
        ("Conformance", testing.conformance),
        ("Shares", testing.assert_share),
        ("A whole router", testing.RunningRouter),
        ("A downstream that does as a script says", testing.ScriptedDownstream),
    ],
)
def test_every_argument_is_there_with_its_default(section: str, function: object) -> None:
    assert callable(function)
    tables = [table for table in sections(PAGE)[section].tables if table[0][0] == "argument"]
    told = {unquoted(name): unquoted(default) for name, default, _ in tables[0][1:]}
    parameters = inspect.signature(function).parameters
    assert list(told) == list(parameters)
    for name, parameter in parameters.items():
        if name != "extensions":  # told in words
            default = "" if parameter.default is parameter.empty else str(parameter.default)
            assert told[name] == default


def test_every_rule_of_conformance_is_there() -> None:
    rules, *_ = sections(PAGE)["Conformance"].tables
    assert [unquoted(rule) for rule, _ in rules[1:]] == list(CHECKS)


@pytest.mark.parametrize("block", all_blocks("python", "test"), ids=str)
def test_an_authors_test_file_passes(block: Block, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(block.text)
    outcomes = pytester.runpytest_inprocess("-p", "no:asyncio", "-W", "error").parseoutcomes()
    assert set(outcomes) <= {"passed", "skipped"}
    assert outcomes["passed"]


def test_the_first_test_file_has_ten_lines() -> None:
    first, *_ = all_blocks("python", "test")
    assert first.page == PAGE
    assert len([line for line in first.text.splitlines() if line]) <= 10


def arguments_of(function: object) -> str:
    assert callable(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters))[1:-1]
