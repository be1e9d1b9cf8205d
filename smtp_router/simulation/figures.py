"""What is counted of a run: taken from the very lines that the router would write into its log.

Over time it is counted in at most `MOST` cells. When they are used up, each two become one that is twice
as wide, so a run of any length takes the same memory, and nobody has to say beforehand how long it is.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from smtp_router.core.outcome import OutcomeKind
from smtp_router.routing.journal import Journal
from smtp_router.simulation.histogram import Histogram

MOST = 240

_BEHIND_THE_CODE = len("250 ")

_plain = str.__str__
"""Of a word that is a member of an enumeration: the hash of those is a call."""


class Cell:
    """A span of time."""

    __slots__ = ("attempts", "messages", "seconds")

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.attempts: Counter[tuple[str, str]] = Counter()
        """By downstream and outcome."""
        self.messages: Counter[str] = Counter()
        """By outcome."""
        self.seconds = Histogram()
        """How long clients waited."""

    def take_in(self, other: "Cell") -> None:
        """Count all of another one, too."""
        self.attempts.update(other.attempts)
        self.messages.update(other.messages)
        self.seconds.take_in((other.seconds,))


class Cells:
    """Spans of time, one after the other, all as wide."""

    def __init__(self) -> None:
        """Time begins."""
        self.width_s = 1.0
        self.all: list[Cell] = [Cell()]
        self._ends = self.width_s

    def at(self, now: float) -> Cell:
        """That of an instant; these only ever come later."""
        if now >= self._ends:
            self._go_on(now)
        return self.all[-1]

    def _go_on(self, now: float) -> None:
        while now >= MOST * self.width_s:
            self._widen()
        missing = int(now / self.width_s) + 1 - len(self.all)
        self.all += [Cell() for _ in range(missing)]
        self._ends = len(self.all) * self.width_s

    def _widen(self) -> None:
        for left, right in zip(self.all[::2], self.all[1::2], strict=False):
            left.take_in(right)
        del self.all[1::2]
        self.width_s *= 2


class Tally:
    """One downstream."""

    __slots__ = ("outcomes", "recipients", "seconds")

    def __init__(self) -> None:
        """Nothing was sent there yet."""
        self.outcomes: Counter[str] = Counter()
        self.recipients = 0
        """Of what it took."""
        self.seconds = Histogram()
        """How long attempts took."""


class Figures(Journal):
    """A run's; see `smtp_router.routing.journal.Journal`."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Nothing has happened yet.

        Args:
            now: gives the present instant.
        """
        self._now = now
        self.cells = Cells()
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.attempts_per_message: Counter[int] = Counter()
        self.replies: Counter[str] = Counter()
        """What clients heard: code and enhanced code."""
        self.events: Counter[str] = Counter()
        """All other lines."""

    def writes(self, level: int) -> bool:
        """What the log has by default."""
        return level >= logging.INFO

    def write(self, level: int, event: str, fields: Mapping[str, Any]) -> None:
        """Take a line."""
        del level
        if event == "attempt":
            self._attempt(fields)
        elif event == "message":
            self._message(fields)
        else:
            self.events[event] += 1

    def _attempt(self, fields: Mapping[str, Any]) -> None:
        name, outcome = fields["downstream"], _plain(fields["outcome"])
        self.cells.at(self._now()).attempts[name, outcome] += 1
        tally = self.tallies[name]
        tally.outcomes[outcome] += 1
        tally.seconds.add(fields["seconds"])
        if outcome == OutcomeKind.DELIVERED:
            tally.recipients += fields["recipients"]

    def _message(self, fields: Mapping[str, Any]) -> None:
        cell = self.cells.at(self._now())
        cell.messages[_plain(fields["outcome"])] += 1
        cell.seconds.add(fields["seconds"])
        self.attempts_per_message[fields["attempts"]] += 1
        reply = f"{fields['reply'] or 'none'} "
        self.replies[reply[: reply.find(" ", _BEHIND_THE_CODE)]] += 1
