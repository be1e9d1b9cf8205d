"""docs/hooks.md has every hook with its exact signature, and every public name with its attributes."""

import ast
import enum
import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import pytest

import smtp_router
from smtp_router.hooks import spec
from smtp_router.hooks.plugin import HOOKS
from tests.docs.pages import DOCS, blocks, sections, unquoted

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
