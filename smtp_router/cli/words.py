"""The words of the log: its formats and levels, and how what stands in a line is quoted."""

import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

Format = Callable[[float, int, str, str, Mapping[str, object]], str]
"""Makes a line of: seconds since the epoch, the level, the logger's name, the message, the fields."""

_PLAIN = re.compile(r"[a-zA-Z0-9_.:/@+<>\[\]*~,;()'!?$%&#|^-]+")


def quoted(value: object) -> str:
    """As it is when it cannot be mistaken; else as a JSON string, in which nothing breaks a line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else encode_basestring_ascii(text)
