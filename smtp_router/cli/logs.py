"""How log records look: one line each, a constant message and its fields.

Lines are collected while the event loop has its turn, and written at its end, in one go. What is written
about every message does not pass through `logging`, which takes three times as long, and looks the same.
"""

import asyncio
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import TextIO

from smtp_router.routing import journal

MAX_TEMPLATES = 100
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_PLAIN = re.compile(r"[a-zA-Z0-9_.:/@+<>\[\]*~,;()'!?$%&#|^-]+")
_PLAIN_OCTETS = bytes(code for code in range(128) if _PLAIN.fullmatch(chr(code))) + b" ="
_PREFIX_CHARS = len("2026-11-22T15:04:05.678Z warning  ")

_as_json = json.JSONEncoder(default=str).encode


_LEVEL_NAMES = MappingProxyType({getattr(logging, level.upper()): level for level in LEVELS})


Format = Callable[[float, int, str, str, Mapping[str, object]], str]
"""Makes a line of: seconds since the epoch, the level, the logger's name, the message, the fields."""


def configure(form: str, level: str) -> "FastJournal":
    """Send the log to stderr.

    Args:
        form: one of `FORMATS`.
        level: one of `LEVELS`.

    Returns:
        What writes about attempts and messages.
    """
    # What no line of ours shows need not be looked up for each (documented: "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    as_line: Format = json_line if form == "json" else TextLines()
    lines = Lines(sys.stderr, as_line)
    logging.root.handlers = [LinesHandler(lines, as_line)]
    logging.root.setLevel(level.upper())
    # Who waits for "listening on …" gets it at any level.
    logging.getLogger("smtp_router.service").setLevel(min(logging.root.level, logging.INFO))
    # aiosmtpd logs commands as they come, and so what clients say during AUTH, and warns of each login
    # that is given up, however many a stranger begins. What is worth a line has one of ours.
    logging.getLogger("mail").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return FastJournal(lines, as_line, logging.root.level)


class Lines:
    """Writes lines to a stream, those of one turn of the event loop at once.

    What cannot be written (the disk is full, nobody reads any more) is counted, and mail goes on. It is
    lost, but for what the stream has room for.
    """

    def __init__(self, stream: TextIO, as_line: Format) -> None:
        """Nothing is written yet; see `Format`."""
        self._stream = stream
        self._as_line = as_line
        self._lost = 0
        self._waiting: list[str] = []
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Take a line, without its end."""
        with self._lock:
            self._waiting.append(line)
            first = len(self._waiting) == 1
        if first:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # no event loop, or another thread
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            text = "\n".join(waiting) + "\n"
            if self._lost:
                text = f"{self._notice()}\n{text}"
            self._stream.write(text)
            self._stream.flush()
        except (OSError, MemoryError):  # raised, it would be logged
            self._lost += len(waiting)
        else:
            self._lost = 0

    def _notice(self) -> str:
        fields = {"lines": self._lost}
        return self._as_line(time.time(), logging.WARNING, __name__, "log could not be written", fields)


class LinesHandler(logging.Handler):
    """Takes what is logged in the usual way."""

    def __init__(self, lines: Lines, as_line: Format) -> None:
        """See `Lines` and `Format`."""
        super().__init__()
        self._lines = lines
        self._as_line = as_line

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and a traceback if there is one."""
        try:
            fields = dict(fields_of(record))
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            is_json = self._as_line is json_line
            if trace and is_json:
                fields["exception"] = trace
            event = record.getMessage()
            line = self._as_line(record.created, record.levelno, record.name, event, fields)
            if trace and not is_json:
                line += "\n" + trace
            self._lines.write(line)
        except Exception:  # noqa: BLE001 - as every handler does it
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits; `logging` calls it when the program ends."""
        self._lines.flush()


class FastJournal:
    """Writes about attempts and messages; see `smtp_router.routing.journal.Journal`."""

    def __init__(self, lines: Lines, as_line: Format, level: int) -> None:
        """See `Lines` and `Format`; below the level nothing is written."""
        self._lines = lines
        self._as_line = as_line
        self._level = level

    def writes(self, level: int) -> bool:
        """See `smtp_router.routing.journal.Journal`."""
        return level >= self._level

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        if level >= self._level:
            self._lines.write(self._as_line(time.time(), level, journal.NAME, event, fields))


def text_line(created: float, level: int, name: str, event: str, fields: Mapping[str, object]) -> str:
    """`2026-11-22T15:04:05.678Z info    message id=… user=…`."""
    del name
    words = [f"{_time(created)} {_level_name(level):7} {event}"]
    words += [f"{key}={_quoted(value)}" for key, value in fields.items() if value is not None]
    return " ".join(words)


class TextLines:
    """The same as `text_line`, for lines that come again and again with the same keys.

    All plain values are put into a template at once, and looked at together: 3.9 us for 11, not 5.7.
    """

    def __init__(self) -> None:
        """No keys have come yet."""
        self._templates: dict[tuple[object, ...], str] = {}
        self._second = -1
        self._time = ""

    def __call__(
        self, created: float, level: int, name: str, event: str, fields: Mapping[str, object]
    ) -> str:
        """See `Format`."""
        keys, values = (level, event, *fields), tuple(fields.values())
        if values and values[-1] is None:
            keys, values = keys[:-1], values[:-1]
        if len(values) < 2 or None in values:  # noqa: PLR2004 - then there is no template
            return text_line(created, level, name, event, fields)
        template = self._templates.get(keys)
        if template is None:
            template = self._learn(level, event, keys)
        second = int(created)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        *plain, last = values
        line = template % (self._time, int(created * 1000) % 1000, *plain)
        pairs = line[_PREFIX_CHARS + len(event) :]
        gaps = len(plain)  # between the pairs, each of which has one equals sign
        is_plain = pairs.count(" ") == gaps and pairs.count("=") == gaps + 1 and "= " not in pairs
        if not is_plain or pairs.encode().translate(None, _PLAIN_OCTETS):
            return text_line(created, level, name, event, fields)
        return line + _quoted(last)

    def _learn(self, level: int, event: str, keys: tuple[object, ...]) -> str:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        pairs = "=%s ".join(map(str, keys[2:]))
        template = self._templates[keys] = f"%s.%03dZ {_level_name(level):7} {event} {pairs}="
        return template


def json_line(created: float, level: int, name: str, event: str, fields: Mapping[str, object]) -> str:
    """One JSON object; a traceback is a string in it."""
    entry: dict[str, object] = {
        "time": _time(created),
        "level": _level_name(level),
        "logger": name,
        "event": event,
        **fields,
    }
    return _as_json(entry)


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """A record's fields."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _level_name(level: int) -> str:
    return _LEVEL_NAMES.get(level) or logging.getLevelName(level).lower()


def _time(created: float) -> str:
    seconds, milliseconds = divmod(int(created * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03}Z"


def _quoted(value: object) -> str:
    """As it is when it cannot be mistaken; else as a JSON string, in which nothing breaks a line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else encode_basestring_ascii(text)
