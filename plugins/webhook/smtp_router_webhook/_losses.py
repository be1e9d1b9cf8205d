"""What could not be told: counted, and logged once a second at most."""

import logging

from smtp_router import Clock

_log = logging.getLogger("smtp_router_webhook")

_EVERY_S = 1.0


class Losses:
    """Counts lost events.

    Args:
        clock: what tells the time.
        origin: whom they were for, for the log.
    """

    def __init__(self, clock: Clock, origin: str) -> None:
        self._clock = clock
        self._origin = origin
        self._count = 0
        self._why = ""
        self._next = float("-inf")

    def add(self, count: int, why: str) -> None:
        """Count so many events, and log unless that was done within the last second."""
        if count:
            self._count += count
            self._why = why
        if self._count and self._clock.now() >= self._next:
            self.tell()

    def tell(self) -> None:
        """Log what has not been logged yet."""
        if self._count:
            fields = {"url": self._origin, "events": self._count, "why": self._why}
            _log.error("webhook lost events", extra={"fields": fields})
            self._count = 0
            self._next = self._clock.now() + _EVERY_S
