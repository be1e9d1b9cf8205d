"""What is written about every attempt and every message.

The router writes through a `Journal`, since these are the lines that are on the hot path; all others go
to `logging` directly.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping

from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered
from smtp_router.core.trace import Trace
from smtp_router.routing.lines import attempt_line, message_line

NAME = "smtp_router.routing.router"
"""The logger that these lines are of."""


class Journal(ABC):
    """Takes lines."""

    def attempt(self, message: Message, outgoing: Message, attempt: Attempt, now: float) -> None:
        """Write about an attempt.

        Args:
            message: as it was received.
            outgoing: as the plugins left it.
            attempt: what became of it.
            now: the present instant, by the router's clock.
        """
        del now  # it is for whoever need not ask what time it is then
        level = logging.INFO if isinstance(attempt.outcome, Delivered) else logging.WARNING
        if self.writes(level):
            self.write(level, "attempt", attempt_line(message, outgoing, attempt))

    def message(self, message: Message, trace: Trace, seconds: float, now: float) -> None:
        """Write about a message that was dealt with in so many seconds, and how that was decided."""
        del now  # as above
        if self.writes(logging.INFO):
            self.write(logging.INFO, "message", message_line(message, trace, seconds))
        if self.writes(logging.DEBUG):
            self.write(logging.DEBUG, "trace", trace.told())

    @abstractmethod
    def writes(self, level: int) -> bool:
        """Whether lines of this level are written at all."""

    @abstractmethod
    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """Write one line.

        Args:
            level: of `logging`.
            event: a constant message.
            fields: in their order; those that are `None` may be left out.
        """


class LoggingJournal(Journal):
    """Writes with the standard library's `logging`."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._log = logging.getLogger(NAME)

    def writes(self, level: int) -> bool:
        """See `Journal`."""
        return self._log.isEnabledFor(level)

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """See `Journal`."""
        self._log.log(level, event, extra={"fields": fields})
