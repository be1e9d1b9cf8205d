"""docs/configuration.md names every key there is, with its type and default, and no other."""

import re
import typing
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import NoneType, UnionType

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from smtp_router.config import references, tree
from smtp_router.config.auth import Auth
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
from tests.docs.pages import DOCS, sections, text_of, unquoted

PAGE = DOCS / "configuration.md"

MODELS: Mapping[type[BaseModel], str] = {
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
def test_every_key_is_in_the_reference_with_its_type_and_default(model: type[BaseModel]) -> None:
    rows = sections(PAGE)[MODELS[model]].rows
    told = {unquoted(key): (without_links(kind), default) for key, kind, default, _ in rows}
    there_are = {
        field.alias or name: (
            TYPES_IN_WORDS.get(name) or type_in_words(field.annotation),
            default_in_words(name, field),
        )
        for name, field in model.model_fields.items()
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


def models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in parts_of(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
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
    if origin in {typing.Union, UnionType, typing.Annotated}:
        return type_in_words(arguments[0])
    assert origin is Mapping, annotation
    return "mapping"


def default_in_words(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if name in DEFAULTS_IN_WORDS:
        return DEFAULTS_IN_WORDS[name]
    default = field.get_default(call_default_factory=True, validated_data={})
    return "none" if default is None else f"`{in_yaml(default)}`"


def in_yaml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple() | frozenset():
            return f"[{', '.join(map(in_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {in_yaml(one)}' for key, one in value.items())}}}"
        case BaseModel():
            return in_yaml({name: getattr(value, name) for name in value.model_fields_set})
        case _:
            return str(value)


def without_links(cell: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
