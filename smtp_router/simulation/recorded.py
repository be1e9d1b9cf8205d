"""Mail that came once: from the lines that `serve --log-format json` writes about every message.

A line is written when a message is done, and tells how long that took: so it is known when it came. The
recipients are not in the log, only how many there were; they are made up.
"""

import heapq
import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from smtp_router.config.scenario import Kind
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.simulation.traffic import ADDRESSES, Arrival, Letters, body, letter, several

SLACK_S = 900.0
"""Lines are in the order in which messages were done; so much later than others one may have been."""


class Line(NamedTuple):
    """What a line tells of a message."""

    came: float
    """When, in seconds since 1970."""
    id: str
    sender: str
    recipients: int
    octets: int


class Recorded:
    """See `smtp_router.simulation.traffic.Traffic`."""

    def __init__(
        self, file: Path, user: str, kind: Kind, seed: int, *, most: int | None, start: datetime | None
    ) -> None:
        """Read the file once, to know that it can be used, and how much there is in it.

        Args:
            file: the log.
            user: whose messages to take.
            kind: says what recipients there are.
            seed: what their choice follows from.
            most: how many messages to take; `None`: all.
            start: what the calendar says at the beginning; `None`: what it said when the first came.

        Raises:
            ConfigError: it cannot be read, or there is no message of this user in it.
        """
        self._file, self._user = file, user
        self._kind, self._seed = kind, seed
        self._most = most
        self._first = min((line.came for line in self._lines()), default=None)
        if self._first is None:
            message = f"has no line about a message of {user} (serve --log-format json writes them)"
            raise ConfigError([Problem(file=str(file), message=message)])
        self.count = sum(1 for _ in self._lines())
        self.start = start or datetime.fromtimestamp(self._first, UTC)

    def arrivals(self) -> Iterator[Arrival]:
        """See `smtp_router.simulation.traffic.Traffic`."""
        assert self._first is not None
        rng = random.Random(f"traffic {self._seed}")  # noqa: S311 - it has to come again
        addresses = Letters(self._kind, rng).recipients
        at = 0.0
        for line in _in_order(self._lines()):
            at = max(at, line.came - self._first)
            first = int(rng.random() * ADDRESSES)
            message = letter(
                line.id,
                self._user,
                self.start + timedelta(seconds=at),
                sender=line.sender,
                recipients=several(addresses, first, min(max(line.recipients, 1), ADDRESSES)),
                rest=body(line.octets),
            )
            yield Arrival(at, message)

    def _lines(self) -> Iterator[Line]:
        """Those about this user's messages, as they stand there.

        Raises:
            ConfigError: a line is not what it should be, with its number.
        """
        left = self._most
        try:
            with self._file.open(encoding="utf-8") as file:
                for number, text in enumerate(file, 1):
                    if left == 0:
                        return
                    found = self._line(number, text)
                    if found is not None:
                        left = None if left is None else left - 1
                        yield found
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            raise ConfigError([Problem(file=str(self._file), message=message)]) from None
        except UnicodeDecodeError:
            raise ConfigError([Problem(file=str(self._file), message="is no text in UTF-8")]) from None

    def _line(self, number: int, text: str) -> Line | None:
        if not text.strip():
            return None
        try:
            entry = json.loads(text)
            if entry["event"] != "message" or entry["user"] != self._user:
                return None
            return _read(entry)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            message = f"is no line of a log in JSON ({type(error).__name__}: {error})"
            problem = Problem(file=str(self._file), line=number, message=message)
            raise ConfigError([problem]) from None


def _read(entry: Mapping[str, Any]) -> Line:
    ended = datetime.fromisoformat(entry["time"]).timestamp()
    return Line(
        came=ended - float(entry["seconds"]),
        id=str(entry["id"]),
        sender=str(entry["mail_from"]),
        recipients=int(entry["recipients"]),
        octets=int(entry["bytes"]),
    )


def _in_order(lines: Iterator[Line]) -> Iterator[Line]:
    """By when they came; what is far too late in the file comes when it stands there."""
    waiting: list[Line] = []
    latest = 0.0
    for line in lines:
        heapq.heappush(waiting, line)
        latest = max(latest, line.came)
        while waiting[0].came < latest - SLACK_S:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)
