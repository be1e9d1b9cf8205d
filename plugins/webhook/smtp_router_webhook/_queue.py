"""What waits to be told, in order and within a bound."""

from collections import deque

_ENTRY_OCTETS = 64
"""What Python takes for an entry beside its octets."""


class Queue:
    """Events in their order, of so many octets at most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._events)

    def put(self, event: bytes) -> bool:
        """Take an event, if there is room."""
        octets = len(event) + _ENTRY_OCTETS
        if self._bytes + octets > self._max_bytes:
            return False
        self._events.append(event)
        self._bytes += octets
        return True

    def take(self, count: int, max_bytes: int) -> list[bytes]:
        """Give the first ones away: so many, and of so many octets, at most; one at least."""
        taken: list[bytes] = []
        octets = 0
        while self._events and len(taken) < count:
            octets += len(self._events[0])
            if taken and octets > max_bytes:
                break
            taken.append(self._events.popleft())
            self._bytes -= len(taken[-1]) + _ENTRY_OCTETS
        return taken
