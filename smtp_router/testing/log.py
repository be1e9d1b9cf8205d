"""What a router logs, for tests to wait for."""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

WAIT_S: Final = 10.0


class RouterLog:
    """Log entries as they come, each a mapping with its `event`, its `level` and its fields."""

    def __init__(self) -> None:
        """Nothing is logged yet."""
        self.entries: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def add(self, entry: dict[str, Any]) -> None:
        """Take an entry."""
        with self._changed:
            self.entries.append(entry)
            self._changed.notify_all()

    def find(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The entries so far of this event, with these fields."""
        wanted = {"event": event} | fields
        return [entry for entry in tuple(self.entries) if wanted.items() <= _plain(entry).items()]

    def wait(
        self, event: str, *, times: int = 1, seconds: float = WAIT_S, **fields: object
    ) -> dict[str, Any]:
        """Wait until such an entry has come (so many `times`); the last one of them.

        Raises:
            AssertionError: it has not come within these seconds; says what has.
        """
        with self._changed:
            found = self._changed.wait_for(
                lambda: len(self.find(event, **fields)) >= times, timeout=seconds
            )
            assert found, f"no {event!r} {fields} x {times} within {seconds} s: {self.entries[-20:]}"
        return self.find(event, **fields)[times - 1]


class LogHandler(logging.Handler):
    """Listens to all that the router logs, at any level, between `start` and `stop`."""

    def __init__(self, log: RouterLog) -> None:
        """Hand records on to this log."""
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter())
        self._log = log
        self._logger = logging.getLogger("smtp_router")
        self._level = self._logger.level

    def start(self) -> None:
        """Listen."""
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)

    def stop(self) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        fields = getattr(record, "fields", {})
        entry = {"event": record.getMessage(), "level": record.levelname.lower(), **fields}
        if record.exc_info:
            entry["exception"] = self.formatter and self.formatter.formatException(record.exc_info)
        self._log.add(entry)


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value.__hash__ is not None}
