"""The traces of the last messages."""

import itertools
from collections import deque

from smtp_router.core.trace import Trace

KEPT = 1000
SHOWN = 20
"""So many are found at once: to put them all into words would hold the event loop."""


class Traces:
    """Keeps the last ones; an older one is forgotten for each that comes."""

    def __init__(self, kept: int = KEPT) -> None:
        """None is kept yet.

        Args:
            kept: how many are.
        """
        self._last: deque[Trace] = deque(maxlen=kept)
        self.add = self._last.append
        """Keep one more."""

    def find(self, beginning: str) -> tuple[Trace, ...]:
        """The last `SHOWN` whose id begins like this, oldest first; a whole id is enough for one."""
        found = (trace for trace in reversed(self._last) if trace.id.startswith(beginning))
        return tuple(itertools.islice(found, SHOWN))[::-1]
