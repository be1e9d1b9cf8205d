"""How log records look: one line each, a constant message and its fields.

Lines are collected, and written in one go: the first at the end of its turn of the event loop, those
behind it a few milliseconds later. What is written about every message does not pass through `logging`,
which takes three times as long, and looks the same.
"""

import asyncio
import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TextIO

from smtp_router.cli.journals import JSON, TEXT, FastJournal, QuickJournal
from smtp_router.cli.words import LEVELS, Format, quoted
from smtp_router.routing.journal import Journal

PAUSE_S = 0.005
"""Between two writes: what a kill may cost of the log, but never of the mail."""

_as_json = json.JSONEncoder(default=str).encode


_LEVEL_NAMES = MappingProxyType({getattr(logging, level.upper()): level for level in LEVELS})


def configure(form: str, level: str) -> Journal:
    """Send the log to stderr.

    Args:
        form: one of `FORMATS`.
        level: one of `LEVELS`.

    Returns:
        What writes about attempts and messages.
    """
    # What no line of ours shows need not be looked up for each (documented: "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    as_line = json_line if form == "json" else text_line
    lines = Lines(sys.stderr, as_line)
    logging.root.handlers = [LinesHandler(lines, as_line)]
    logging.root.setLevel(level.upper())
    # Who waits for "listening on …" gets it at any level.
    logging.getLogger("smtp_router.service").setLevel(min(logging.root.level, logging.INFO))
    # aiosmtpd logs commands as they come, and so what clients say during AUTH, and warns of each login
    # that is given up, however many a stranger begins. What is worth a line has one of ours.
    logging.getLogger("mail").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return journal_of(lines.write, as_line, logging.root.level)


def journal_of(write: Callable[[str], None], as_line: Format, level: int) -> Journal:
    """What writes about attempts and messages; see `FastJournal`."""
    if level == logging.INFO:
        return QuickJournal(write, as_line, JSON if as_line is json_line else TEXT)
    return FastJournal(write, as_line, level)


class Lines:
    """Writes lines to a stream, many at once.

    The first is written at the end of this turn of the event loop; those behind it wait until some
    milliseconds have passed, so that a router under load does not write in each turn.

    What cannot be written (the disk is full, nobody reads any more) is counted, and mail goes on. It is
    lost, but for what the stream has room for.
    """

    def __init__(self, stream: TextIO, as_line: Format, pause_s: float = PAUSE_S) -> None:
        """Nothing is written yet.

        Args:
            stream: where to.
            as_line: makes lines (see `Format`).
            pause_s: between two writes.
        """
        self._stream = stream
        self._as_line = as_line
        self._pause_s = pause_s
        self._written_at = -math.inf
        self._lost = 0
        self._waiting: list[str] = []
        self._is_due = False
        """Whether somebody will write what waits. Looked at after a line is added, and undone before
        what waits is taken: so no line is left over, whichever thread it is of, without a lock."""
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Take a line, without its end."""
        self._waiting.append(line)
        if not self._is_due:
            self._is_due = True
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # no event loop, or another thread
                self.flush()
                return
            left_s = self._written_at + self._pause_s - time.monotonic()
            if left_s > 0:
                loop.call_later(left_s, self.flush)
            else:
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._is_due = False
        self._written_at = time.monotonic()
        with self._lock:
            waiting = self._waiting[:]
            del self._waiting[: len(waiting)]  # what another thread adds meanwhile stays
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
            if trace and self._as_line is json_line:
                fields["exception"] = trace
            event = record.getMessage()
            line = self._as_line(record.created, record.levelno, record.name, event, fields)
            if trace and self._as_line is text_line:
                line += "\n" + trace
            self._lines.write(line)
        except Exception:  # noqa: BLE001 - as every handler does it
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits; `logging` calls it when the program ends."""
        self._lines.flush()


def text_line(created: float, level: int, name: str, event: str, fields: Mapping[str, object]) -> str:
    """`2026-11-22T15:04:05.678Z info    message id=… user=…`."""
    del name
    words = [f"{_time(created)} {_level_name(level):7} {event}"]
    words += [f"{key}={quoted(value)}" for key, value in fields.items() if value is not None]
    return " ".join(words)


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
