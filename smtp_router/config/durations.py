"""Spans of time as people write them: `80ms`, `2s`, `10m`, `1h30m`; a number is in seconds."""

import re
from types import MappingProxyType
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

_UNITS = MappingProxyType({"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0})
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)", re.ASCII)
_WHOLE = re.compile(f"(?:{_PART.pattern})+", re.ASCII)
_MAX_S = 366 * 86_400.0


def seconds(value: object) -> float:
    """Read a span of time.

    Returns:
        Seconds.

    Raises:
        ValueError: it is none, or longer than a year.
    """
    found = -1.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        found = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(value))
    if not 0 <= found <= _MAX_S:
        message = "must be a span of time of at most a year, as in 80ms, 2s, 10m, 1h30m"
        raise ValueError(message)
    return found


Duration = Annotated[
    float,
    PlainValidator(seconds),
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"type": ["number", "string"]}),
]
