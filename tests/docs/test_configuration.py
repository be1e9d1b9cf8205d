"""docs/configuration.md names every key there is, with its type and default, and no other."""

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import reduce
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from operator import or_
from pathlib import Path
from types import NoneType, UnionType

import pytest

from smtp_router.config import references, tree
from smtp_router.config.auth import Auth
from smtp_router.config.explain import keys_of
from smtp_router.config.health import Health
from smtp_router.config.limits import Limits
from smtp_router.config.load import ALIASES
from smtp_router.config.patterns import MAX_CHARS, MAX_REPEATS, Pattern
from smtp_router.config.plugin_use import Canary, PluginUse
from smtp_router.config.pool import PoolLimits
from smtp_router.config.provider_use import ProviderUse
from smtp_router.config.replies import ReplyRule
from smtp_router.config.secret import Secret
from smtp_router.config.settings import (
    Downstream,
    Listener,
    Settings,
    Timeouts,
    User,
)
from smtp_router.config.types import HostPort, Rate, SystemdSocket, UnixPath
from smtp_router.config.value import Value
from tests.docs.pages import DOCS, sections, text_of, unquoted

PAGE = DOCS / "configuration.md"

MODELS: Mapping[type[Value], str] = {
    Settings: "The file",
    Listener: "listen[]",
    User: "users[]",
    Downstream: "users[].downstreams[]",
    Auth: "users[].downstreams[].auth",
    Limits: "users[].downstreams[].limits",
    PoolLimits: "users[].downstreams[].pool",
    Timeouts: "timeouts",
    Health: "health",
    PluginUse: "users[].algorithm, users[].plugins[] and users[].shadow",
    Canary: "users[].canary",
    ProviderUse: "users[].downstreams[].provider",
    ReplyRule: "users[].downstreams[].replies[]",
}

DEFAULTS_IN_WORDS = {
    "hostname": "this host's name",
    "name": "the `addr`, or else the `provider`",
    "pool": "all defaults",
    "tls_ca": "the system's",
    "tls_client_key": "in `tls_client_cert`",
    "tls_key": "in `tls_cert`",
    "timeouts": "all defaults",
    "health": "all defaults",
    "limits": "none",
    "counted_as": "`email`/`name`",
}

TYPES: Mapping[object, str] = {
    str: "text",
    Secret: "secret",
    float: "seconds",
    int: "whole number",
    bool: "true or false",
    Path: "path",
    HostPort: "HOST:PORT",
    HostPort | UnixPath: "HOST:PORT, unix:PATH",
    HostPort | UnixPath | SystemdSocket: "listening address",
    IPv4Address | IPv6Address: "IP address",
    IPv4Network | IPv6Network: "network",
    Rate: "rate",
    Listener: "listener",
    User: "user",
    Downstream: "downstream",
    Auth: "auth",
    PluginUse: "plugin",
    Canary: "canary",
    PoolLimits: "pool",
    Timeouts: "timeouts",
    ProviderUse: "provider",
    ReplyRule: "reply rule",
    Pattern: "regular expression",
    Health: "health",
    Limits: "limits",
}

TYPES_IN_WORDS = {
    "failure_rate": "share",
    "percent": "percent",
    "token_command": "command",
    "token_url": "URL",
    "workers": "whole number, or auto",
}
"""Of values that are not what values of their type are elsewhere."""


def test_every_model_of_the_settings_has_its_section() -> None:
    assert set(models_in(Settings)) == set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_in_the_reference_with_its_type_and_default(model: type[Value]) -> None:
    rows = sections(PAGE)[MODELS[model]].rows
    told = {unquoted(key): (without_links(kind), default) for key, kind, default, _ in rows}
    there_are = {
        key: (TYPES_IN_WORDS.get(key) or type_in_words(kind), default_in_words(key, defaults_of(model)))
        for key, kind in keys_of(model).items()
    }
    assert told == there_are


@pytest.mark.parametrize(("alias", "key"), ALIASES.items())
def test_every_other_spelling_of_a_key_is_in_the_reference(alias: str, key: str) -> None:
    assert f"`{alias}` is another spelling of `{key}`" in text_of(PAGE)


def test_the_bounds_of_a_configuration_file_are_in_the_reference() -> None:
    text = " ".join(sections(PAGE)["YAML"].text.split())
    assert f"{tree.MAX_BYTES // 2**20} MiB" in text
    assert f"{tree.MAX_DEPTH} levels" in text
    assert f"{tree.MAX_VALUES:,} values" in text
    assert f"{references.MAX_FILE_BYTES // 2**10} KiB" in sections(PAGE)["References"].text


def test_the_bounds_of_an_expression_are_in_the_reference() -> None:
    assert f"{MAX_CHARS} characters at most" in text_of(PAGE)
    assert f"come to {MAX_REPEATS} at most" in text_of(PAGE)


def models_in(model: type[Value]) -> Iterator[type[Value]]:
    yield model
    for kind in keys_of(model).values():
        for part in parts_of(kind):
            if isinstance(part, type) and issubclass(part, Value):
                yield from models_in(part)


def parts_of(annotation: object) -> Iterator[object]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from parts_of(argument)


def type_in_words(annotation: object) -> str:
    if annotation in TYPES:
        return TYPES[annotation]
    origin = typing.get_origin(annotation)
    arguments = [argument for argument in typing.get_args(annotation) if argument is not NoneType]
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {tuple, frozenset}:
        return f"list of {type_in_words(arguments[0])}" + ("s" if origin is tuple else "")
    if origin in {typing.Union, UnionType}:
        return TYPES.get(reduce(or_, arguments)) or type_in_words(arguments[0])
    assert origin is Mapping, annotation
    return "mapping"


def defaults_of(model: type[Value]) -> Mapping[str, object]:
    """By key, for those that have one."""
    found: dict[str, object] = {}
    for field in fields(model):  # type: ignore[arg-type]  # all values are dataclasses
        key = field.metadata.get("alias", field.name)
        if field.default_factory is not MISSING:
            found[key] = field.default_factory()
        elif field.default is not MISSING:
            found[key] = field.default
    return found


def default_in_words(key: str, defaults: Mapping[str, object]) -> str:
    if key not in defaults:
        return "*required*"
    if key in DEFAULTS_IN_WORDS:
        return DEFAULTS_IN_WORDS[key]
    default = defaults[key]
    return "none" if default is None else f"`{in_yaml(default)}`"


def in_yaml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple() | frozenset():
            return f"[{', '.join(map(in_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {in_yaml(one)}' for key, one in value.items())}}}"
        case Value():
            usual, keys = defaults_of(type(value)), keys_of(type(value))
            said = {key: getattr(value, key) for key in keys}
            return in_yaml({key: one for key, one in said.items() if one != usual.get(key, MISSING)})
        case _:
            return str(value)


def without_links(cell: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
