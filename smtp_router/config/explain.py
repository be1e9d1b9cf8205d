"""What pydantic finds, as problems with file, line and key, in words that say what to do."""

import difflib
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from smtp_router.config import tree
from smtp_router.config.key_path import KeyPath
from smtp_router.config.places import problem_at
from smtp_router.config.value import Value
from smtp_router.core.errors import Problem

_MESSAGES = {
    "string_type": "must be text: put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list (lines that start with -)",
    "frozen_set_type": "must be a list, as in [deferred]",
    "mapping_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "dataclass_type": "must be a mapping (key: value)",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def explain(
    file: Path, root: tree.Node, detail: ErrorDetails, model: type[Value | BaseModel]
) -> Problem:
    """A finding of pydantic's in words that say what to do.

    Args:
        file: where it was found.
        root: the file's contents.
        detail: the finding.
        model: what the whole file has to be.
    """
    path = tuple(detail["loc"])
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "missing":
        message = "is missing: add it"
    elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
        message = f"is not a key here: {_hint(str(path[-1]), _known_keys(model, path[:-1]))}"
    elif kind == "literal_error":
        message = f"must be {context.get('expected', 'something else')}"
    elif kind == "value_error":
        message = str(context.get("error", "is not valid"))
    elif kind in ("greater_than", "less_than_equal"):
        bounds = "more than 0" if kind == "greater_than" else f"at most {context.get('le'):g}"
        message = f"must be {bounds}"
    else:
        message = _MESSAGES.get(kind, detail["msg"])
    return problem_at(file, root, path, message)


def _hint(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"


def keys_of(model: type[Value | BaseModel]) -> dict[str, object]:
    """The keys of a part of a file, each with its type."""
    if issubclass(model, BaseModel):
        return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    types = typing.get_type_hints(model)
    return {
        field.metadata.get("alias", field.name): types[field.name]
        for field in fields(model)  # type: ignore[arg-type]  # all values are dataclasses
        if field.init
    }


def _known_keys(model: type[Value | BaseModel], path: KeyPath) -> list[str]:
    """The keys of the model at a path; a mapping's own keys and a list's positions lead on."""
    annotation: object = model
    for step in path:
        inner = _model_in(annotation)
        if typing.get_origin(annotation) is Mapping:
            annotation = inner
        elif isinstance(step, str):
            annotation = keys_of(inner).get(step, inner)
    return list(keys_of(_model_in(annotation)))


def _model_in(annotation: object) -> type[Value | BaseModel]:
    """The model that an annotation such as `tuple[User, ...]` holds."""
    if isinstance(annotation, type) and issubclass(annotation, Value | BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not BaseModel:
            return found
    return BaseModel
