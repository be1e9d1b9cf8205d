"""Log lines that a stranger can cause: one a second for each cause, however often it happens."""

import logging

from smtp_router.core.clock import Clock

PERIOD_S = 1.0


class Complaints:
    """Writes the first of a kind, counts the others, and tells their number with the next line."""

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        """Nothing has happened yet."""
        self._log = log
        self._clock = clock
        self._written: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def write(self, cause: str, *, level: int = logging.WARNING, **fields: object) -> None:
        """Log what has happened, unless the last line about it is less than a second old.

        Args:
            cause: the line's constant message; few, and never a client's words.
            level: of the log.
            fields: what is known of this case.
        """
        now = self._clock.now()
        if now - self._written.get(cause, -PERIOD_S) < PERIOD_S:
            self._left_out[cause] = self._left_out.get(cause, 0) + 1
            return
        self._written[cause] = now
        left_out = self._left_out.pop(cause, 0)
        if left_out:
            fields["left_out"] = left_out
        self._log.log(level, cause, extra={"fields": fields})
