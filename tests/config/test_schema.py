"""The JSON Schema says of a file what the loader says of it, as far as a schema can."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from smtp_router.config.load import ALIASES
from smtp_router.config.schema import json_schema
from tests.support import config_text

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMA: Any = json_schema()


def fits(value: object, schema: Any) -> bool:  # noqa: ANN401 - any part of a schema
    """Whether a value fits a schema, for those keywords that ours has; any other is an error."""
    return all(_checks(keyword, argument, value, schema) for keyword, argument in schema.items())


def _checks(keyword: str, argument: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401, C901, PLR0911, PLR0912
    match keyword:
        case "title" | "description" | "default" | "$schema" | "$defs" | "format":
            return True
        case "$ref":
            return fits(value, SCHEMA["$defs"][argument.removeprefix("#/$defs/")])
        case "anyOf":
            return any(fits(value, one) for one in argument)
        case "oneOf":
            return sum(fits(value, one) for one in argument) == 1
        case "type":
            return _is(value, argument)
        case "enum":
            return value in argument
        case "pattern":
            return not isinstance(value, str) or re.search(argument, value) is not None
        case "minLength":
            return not isinstance(value, str) or len(value) >= argument
        case "minItems":
            return not isinstance(value, list) or len(value) >= argument
        case "uniqueItems":
            return not isinstance(value, list) or len(value) == len(set(value))
        case "exclusiveMinimum":
            return not _is(value, "number") or value > argument
        case "maximum":
            return not _is(value, "number") or value <= argument
        case "items":
            return not isinstance(value, list) or all(fits(item, argument) for item in value)
        case "required":
            return not isinstance(value, dict) or all(key in value for key in argument)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(item, argument[key]) for key, item in value.items() if key in argument
            )
        case "additionalProperties":
            return argument or not isinstance(value, dict) or set(value) <= set(schema["properties"])
        case "dependentRequired":
            return not isinstance(value, dict) or all(
                set(others) <= value.keys() for key, others in argument.items() if key in value
            )
        case _:
            raise NotImplementedError(keyword)


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds: dict[str, type | tuple[type, ...]] = {
        "object": dict,
        "array": list,
        "string": str,
        "number": (int, float),
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    return isinstance(value, kinds[kind])


def test_the_schema_is_json_of_the_dialect_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_fit(file: Path) -> None:
    assert fits(yaml.safe_load(file.read_text()), SCHEMA)


RULE = {"match": "^452 ", "class": "quota", "stages": ["rcpt"], "rest_s": 60}
TOKEN = {"type": "xoauth2", "token_url": "https://a", "client_id": "b", "refresh_token": "c"}
COMMAND = {"type": "oauthbearer", "token_command": ["a", "b"]}
USER = {"email": "a@b", "password": "p", "algorithm": "x", "downstreams": [{"addr": "a:1"}]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deadline_s": 0.5},
        {"deadline_s": "${env:D}"},
        {"allow_plaintext_auth": "${file:./flag}"},
        {"listen": [{"addr": "[::1]:0"}, {"addr": "${env:ADDR}"}]},
        {"listen": [{"addr": "unix:run/s"}, {"addr": "systemd"}, {"addr": "systemd:smtp"}]},
        {"listen": [{"addr": "a:1", "tls": "starttls", "tls_cert": "c.pem", "require_tls": True}]},
        {"users": [{**USER, "rate": "100/min", "networks": ["10.0.0.0/8", "2001:db8::/32"]}]},
        {"users": [{**USER, "failover_on": ["deferred", "in_doubt"]}]},
        {"users": [{**USER, "failover_on": ["${env:F}"]}]},
        {"users": [{**USER, "algorithm": {"use": "x", "options": {"any": [1, {}]}}}]},
        {"users": [{**USER, "plugins": ["x", {"use": "y"}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "user": "u", "pass": "p", "tls": "none"}]}]},
        {"users": [{**USER, "downstreams": [{"provider": "sendgrid"}]}]},
        {"users": [{**USER, "downstreams": [{"provider": {"use": "ses", "region": "eu-west-1"}}]}]},
        {"users": [{**USER, "downstreams": [{"provider": "${env:P}", "replies": []}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "replies": [RULE]}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "user": "u", "auth": TOKEN}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "auth": {"type": "plain"}}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "auth": COMMAND}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "tls_client_cert": "./c.pem"}]}]},
    ],
    ids=str,
)
def test_what_is_valid_fits(changes: dict[str, object]) -> None:
    assert fits({"users": [USER], **changes}, SCHEMA)


@pytest.mark.parametrize(
    "changes",
    [
        {"deadline": 5},
        {"deadline_s": 0},
        {"deadline_s": 86401},
        {"deadline_s": "soon"},
        {"deadline_s": True},
        {"max_recipients": 1.5},
        {"allow_plaintext_auth": "yes"},
        {"listen": []},
        {"listen": [{"addr": "a"}]},
        {"listen": [{"addr": "a:99999999"}]},
        {"listen": [{"addr": "${HOME}:1:2"}]},
        {"listen": [{"addr": "unix:"}]},
        {"listen": [{"addr": "a:1", "tls": "auto"}]},
        {"bare_newlines": "repair"},
        {"users": [{**USER, "rate": "100/week"}]},
        {"users": [{**USER, "rate": "x100/min"}]},
        {"users": [{**USER, "networks": ["here"]}]},
        {"users": []},
        {"users": [{}]},
        {"users": [{**USER, "zzz": 1}]},
        {"users": [{**USER, "email": ""}]},
        {"users": [{**USER, "password": 5}]},
        {"users": [{**USER, "selector_algo_path": "./x.py"}]},
        {"users": [{**USER, "failover_on": ["delivered"]}]},
        {"users": [{**USER, "downstreams": []}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "tls": "ssl"}]}]},
        {"users": [{**USER, "downstreams": [{"name": "nowhere"}]}]},
        {"users": [{**USER, "downstreams": [{"provider": "nobody"}]}]},
        {"users": [{**USER, "downstreams": [{"provider": {"use": "nobody"}}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "replies": [{**RULE, "class": "no"}]}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "replies": [{**RULE, "stages": ["no"]}]}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "replies": [{"class": "quota"}]}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "auth": {"type": "gssapi"}}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "auth": {**TOKEN, "token_url": "ftp:"}}]}]},
        {"users": [{**USER, "downstreams": [{"addr": "a:1", "auth": {**COMMAND, "scope": "x"}}]}]},
        {"users": [{**USER, "algorithm": {"options": {}}}]},
        {"timeouts": {"connect_s": -1}},
        {"timeouts": {"connect": 1}},
    ],
    ids=str,
)
def test_what_is_invalid_does_not_fit(changes: dict[str, object]) -> None:
    assert not fits({"users": [USER], **changes}, SCHEMA)


def test_what_a_test_configures_fits() -> None:
    assert fits(yaml.safe_load(config_text()), SCHEMA)


@pytest.mark.parametrize(("alias", "key"), ALIASES.items())
def test_other_spellings_are_offered(alias: str, key: str) -> None:
    user: dict[str, object] = {**USER, alias: USER[key]}
    assert not fits({"users": [user]}, SCHEMA)
    del user[key]
    assert fits({"users": [user]}, SCHEMA)


def test_every_key_is_described() -> None:
    models = [SCHEMA, *SCHEMA["$defs"].values(), *SCHEMA["$defs"]["PluginUse"]["anyOf"]]
    keys = [keys for model in models for keys in model.get("properties", {}).items()]
    assert len(keys) > 30
    assert [name for name, key in keys if not key.get("description")] == []
