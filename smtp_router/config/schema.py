"""The configuration's JSON Schema, for editors."""

from typing import Any

from smtp_router.config.reading import reader
from smtp_router.config.settings import Settings

_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):[^{}]+\}"}
_NOTES = ("title", "description", "default")


def json_schema() -> dict[str, object]:
    """JSON Schema 2020-12 of the configuration file."""
    schema = _with_references(reader(Settings).json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "smtp-router configuration",
    }


def _with_references(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Let `${env:…}` and `${file:…}` stand in every value, also where not just any text may stand."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _with_references(value) for key, value in schema.items()}
    picky = schema.get("type") in ("number", "integer", "boolean") or "enum" in schema
    if picky or "pattern" in schema:
        notes = {key: schema.pop(key) for key in _NOTES if key in schema}
        return {**notes, "anyOf": [schema, _REFERENCE]}
    return schema
