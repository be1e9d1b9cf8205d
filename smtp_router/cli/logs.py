"""How log records look: one line each, a constant message and its fields."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+<>[]*~,;()'!?$%&#|^"
)


def configure(form: str, level: str) -> None:
    """Send the log to stderr.

    Args:
        form: one of `FORMATS`.
        level: one of `LEVELS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.root.handlers = [handler]
    logging.root.setLevel(level.upper())
    # Who waits for "listening on …" gets it at any level.
    logging.getLogger("smtp_router.service").setLevel(min(logging.root.level, logging.INFO))
    # aiosmtpd logs commands as they come, and so what clients say during AUTH.
    logging.getLogger("mail").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """`2026-11-22T15:04:05.678Z info  message id=… user=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        fields = " ".join(
            f"{key}={_quoted(value)}" for key, value in fields_of(record).items() if value is not None
        )
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line; a traceback is a string in it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """A record's fields."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    """As it is when it cannot be mistaken; else as a JSON string, in which nothing breaks a line."""
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)
