"""What is written about every attempt and every message.

The router writes through a `Journal`, since these are the lines that are on the hot path; all others go
to `logging` directly.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

NAME = "smtp_router.routing.router"
"""The logger that these lines are of."""


class Journal(Protocol):
    """Takes lines."""

    def writes(self, level: int) -> bool:
        """Whether lines of this level are written at all."""
        ...

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """Write one line.

        Args:
            level: of `logging`.
            event: a constant message.
            fields: in their order; those that are `None` may be left out.
        """
        ...


class LoggingJournal:
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
