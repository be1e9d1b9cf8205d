"""The words of the log: its formats and levels, and how what stands in a line is quoted."""

import re
from json.encoder import encode_basestring_ascii

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_PLAIN = re.compile(r"[a-zA-Z0-9_.:/@+<>\[\]*~,;()'!?$%&#|^-]+")


def quoted(value: object) -> str:
    """As it is when it cannot be mistaken; else as a JSON string, in which nothing breaks a line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else encode_basestring_ascii(text)
