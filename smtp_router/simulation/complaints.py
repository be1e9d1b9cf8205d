"""What the router, its plugins and what they use would have logged beside attempts and messages."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OURS = "smtp_router"
MOST_RESTS = 1000
"""So many are kept with their instant."""


class Complaints(logging.Handler):
    """Counts warnings and errors, and keeps the first of each kind; and who rested when."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Nothing was logged yet.

        Args:
            now: gives the present instant.
        """
        super().__init__(logging.INFO)
        self._now = now
        self.counts: Counter[str] = Counter()
        """By what it was about; plugins' failures among them."""
        self.rests: list[tuple[float, str, bool]] = []
        """Instants at which a downstream began to rest (`True`) or was back."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        event = record.getMessage()
        fields = getattr(record, "fields", {})
        if event in ("downstream rests", "downstream is back"):
            if len(self.rests) < MOST_RESTS:
                self.rests.append((self._now(), fields["downstream"], event == "downstream rests"))
        elif record.levelno >= logging.WARNING:
            self.counts[_told(event, record)] += 1


def _told(event: str, record: logging.LogRecord) -> str:
    """`plugin failed: weighted: select_downstream raised KeyError: 'provider3'`."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return event
    cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
    return f"{event}: {error}{cause}"


@contextmanager
def listening(complaints: Complaints) -> Iterator[None]:
    """Have all that is logged meanwhile go there, and nowhere else."""
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    before = root.handlers, ours.level
    root.handlers = [complaints]  # plugins have loggers of their own
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = before[0]
        ours.setLevel(before[1])
