"""docs/hooks.md has every hook with its exact signature, and every public name with its attributes."""

import ast
import enum
import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import smtp_router
from smtp_router.hooks import spec
from smtp_router.hooks.plugin import HOOKS
from smtp_router.testing import (
    delivered,
    make_attempt,
    make_downstream,
    make_message,
    make_plugin,
    rejected,
    unreachable,
)
from tests.docs.pages import DOCS, Block, blocks, sections, text_of, unquoted
from tests.docs.test_blocks import options_of

PAGE = DOCS / "hooks.md"

EXCEPTIONS: Mapping[type, BaseException] = {
    smtp_router.ConfigError: smtp_router.ConfigError([]),
    smtp_router.Defer: smtp_router.Defer(),
    smtp_router.PluginError: smtp_router.PluginError("name", "message"),
    smtp_router.Reject: smtp_router.Reject(),
    smtp_router.SmtpRouterError: smtp_router.SmtpRouterError(),
}


# The hooks.


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_reference_with_its_exact_signature(hook: str) -> None:
    assert signatures(text for text in shown_code())[hook] == signatures([inspect.getsource(spec)])[hook]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_when_with_what_and_what_follows(hook: str) -> None:
    text = sections(PAGE)[hook].text
    for word in ("When", *(f"`{argument}`" for argument in HOOKS[hook]), "Returns", "Fails"):
        assert f"- **{word}:**" in text


def test_the_overview_names_every_hook() -> None:
    told = [re.findall(r"`(\w+)`", row[0]) for row in sections(PAGE)["The hooks"].rows]
    assert told == [[hook] for hook in HOOKS]


@pytest.mark.parametrize("hook", HOOKS)
async def test_every_hook_has_an_example_that_works(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "example.py"
    file.write_text(example_of(hook).text, "utf-8")
    downstreams = [make_downstream("a"), make_downstream("b")]
    plugin = make_plugin(file, options_of(example_of(hook)), downstreams=downstreams)
    assert hook in plugin.hooks
    message = make_message()
    for outcome in (unreachable(), rejected(), delivered()):
        attempt = make_attempt("a", outcome)
        await plugin.select_downstream(downstreams[1:], message=message, attempts=[attempt])
        await plugin.select_downstream(downstreams, message=message)
        await plugin.before_send(message, downstreams[0])
        await plugin.after_send(message, attempt)
    await plugin.close()
    if hook == "close":
        assert (tmp_path / "tally.json").read_text("utf-8") == (
            '{"a deferred": 1, "a rejected": 1, "a delivered": 1}'
        )


def example_of(hook: str) -> Block:
    """The first plugin behind a hook's heading, before the next one."""
    text = text_of(PAGE)
    begin = text[: text.index(f"\n### {hook}\n")].count("\n") + 1
    end = min(line for line in headings(text) if line > begin + 1)
    return next(
        block for block in blocks(PAGE) if block.is_a("python", "plugin") and begin < block.line < end
    )


def headings(text: str) -> Iterator[int]:
    """Their lines; a comment in Python looks the same, and there is none on the page."""
    return (number for number, line in enumerate(text.splitlines(), 1) if re.match("##", line))


def shown_code() -> Iterator[str]:
    return (block.text for block in blocks(PAGE) if block.words == ("python",))


def signatures(sources: Iterable[str]) -> dict[str, str]:
    return {
        node.name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.returns
    }


# The public names.


@pytest.mark.parametrize("name", smtp_router.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert name in sections(PAGE)


@pytest.mark.parametrize("name", smtp_router.__all__)
def test_every_attribute_is_in_the_reference_with_its_type(name: str) -> None:
    public = getattr(smtp_router, name)
    told = {unquoted(attribute): unquoted(kind) for attribute, kind, _ in sections(PAGE)[name].rows}
    there_are = dict(attributes_of(public)) if isinstance(public, type) else {}
    if public in EXCEPTIONS:
        told = dict.fromkeys(told, "")
    assert told == there_are


@pytest.mark.parametrize("name", ["Defer", "Reject"])
def test_what_a_refusal_takes_and_says_by_default_is_in_the_reference(name: str) -> None:
    text = sections(PAGE)[name].text
    refusal = getattr(smtp_router, name)
    parameters = inspect.signature(refusal).parameters
    assert list(parameters) == ["text", "code", "enhanced"]
    assert f"`{name}(text, *, code, enhanced)`" in text
    assert f"`{refusal().reply}`" in " ".join(text.split())


def attributes_of(cls: type) -> Iterator[tuple[str, str]]:
    """Name and type, in words, of all that is public."""
    if issubclass(cls, enum.Enum):
        yield from ((member.name, f'"{member.value}"') for member in cls)
    elif is_dataclass(cls):
        yield from (
            (field.name, in_words(cls, field.type)) for field in fields(cls) if field.name[0] != "_"
        )
        yield from computed_by(cls)
    elif issubclass(cls, BaseException):
        yield from ((name, "") for name in vars(EXCEPTIONS[cls]))  # which does not tell their types
    else:
        yield from computed_by(cls)


def computed_by(cls: type) -> Iterator[tuple[str, str]]:
    """What is not a field of each object: class variables, properties, methods."""
    for name, annotation in inspect.get_annotations(cls).items():
        origin: object = typing.get_origin(annotation)
        if origin is typing.ClassVar:
            yield name, in_words(cls, typing.get_args(annotation)[0])
    for name, value in vars(cls).items():
        if name[0] == "_":
            continue
        if isinstance(value, property):
            assert value.fget is not None
            yield name, in_words(cls, inspect.signature(value.fget).return_annotation)
        elif inspect.isroutine(getattr(cls, name)):
            signature = inspect.signature(getattr(cls, name))
            bare = [
                parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
                for parameter in signature.parameters.values()
            ]
            arguments = ", ".join(str(parameter) for parameter in bare if parameter.name != "self")
            yield f"{name}({arguments})", in_words(cls, signature.return_annotation)


def in_words(cls: type, annotation: object) -> str:
    if annotation == smtp_router.Outcome:
        return "Outcome"
    if annotation is typing.Self:
        return cls.__name__
    return re.sub(r"[\w.]+\.(?=\w)", "", inspect.formatannotation(annotation)).strip("'")
