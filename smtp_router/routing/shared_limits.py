"""Limits that the workers of one machine keep to together: the same as for one process, to the message.

A place is taken under a lock, from numbers that all of them have (`smtp_router.shared.table`); that
costs 11 µs for a message to a downstream that has limits, and nothing for all others.
"""

import asyncio
import math
from collections.abc import Iterator

from smtp_router.config.limits import Limits
from smtp_router.config.types import Rate
from smtp_router.core.clock import Clock
from smtp_router.routing.limits import Meter, Parts
from smtp_router.routing.policy import Turns
from smtp_router.shared.table import Span, Table, key_of

_SPANS = (1.0, 60.0, 3600.0)
"""Which window of a record is which (see `Limits.windows`)."""
_KNOWN = 100
"""Limits of one name, of which few are ever different."""


class SharedMeter(Meter):
    """Counts what is sent under one name, by whichever worker."""

    __slots__ = ("_counted", "_key", "_known", "_lines", "_table")

    again_s = 0.01

    def __init__(self, table: Table, name: str) -> None:
        """Go on from what the others have counted."""
        super().__init__()
        self.taken = math.inf
        self._table = table
        self._key = key_of("limit", name)
        self._lines = key_of("line", name)
        self._known: dict[int, tuple[Limits, frozenset[float], tuple[Span, ...]]] = {}
        self._counted: frozenset[float] = frozenset()

    def watch(self, limits: Limits) -> None:
        """See `Meter`."""
        self._counted |= dict(limits.windows).keys()  # replaced, since a reload is in another thread

    def room(self, limits: Limits, now: float) -> float:
        """See `Meter`; by the time somebody comes, others may have taken it."""
        return 1 if self.opens_at(limits, now) <= now else 0

    @property
    def in_flight(self) -> int:
        """See `Meter`."""
        return self._table.held(self._key)

    def opens_at(self, limits: Limits, now: float) -> float:
        """See `Meter`."""
        return self._table.opens_at(self._key, self._spans(limits), now, at_once=limits.concurrency)

    def windows(self, limits: Limits, now: float) -> Iterator[tuple[float, int, float]]:
        """See `Meter`."""
        for span in self._spans(limits):
            if span.limit is not None:
                yield span.seconds, span.limit, self._table.opens_at(self._key, (span,), now)

    def take(self, limits: Limits, now: float) -> Parts | None:
        """See `Meter`."""
        spans = self._spans(limits)
        parts = self._table.take(self._key, spans, now, at_once=limits.concurrency, hold=True)
        if parts is None:
            return None
        return [
            _SharedPart(self._table, self._key, span, part)
            for span, part in zip(spans, parts, strict=True)
        ]

    def leave(self) -> None:
        """See `Meter`; if others have lines, too, all look again by and by, and each gets its turn."""
        self._table.release(self._key)
        if self.waiting and self._table.held(self._lines) <= len(self.waiting):
            for event in self.waiting:
                event.set()

    def wait(self, event: asyncio.Event) -> None:
        """See `Meter`."""
        super().wait(event)
        self._table.hold(self._lines, len(self.waiting), 0.0)

    def give_up(self, event: asyncio.Event) -> None:
        """See `Meter`."""
        super().give_up(event)
        self._table.hold(self._lines, len(self.waiting), 0.0)

    def _spans(self, limits: Limits) -> tuple[Span, ...]:
        """By identity, since values take time to compare."""
        counted = self._counted
        known = self._known.get(id(limits))
        if known is not None and known[0] is limits and known[1] is counted:
            return known[2]
        given = dict(limits.windows)
        spans = tuple(
            Span(at, seconds, given.get(seconds))
            for at, seconds in enumerate(_SPANS)
            if seconds in counted or seconds in given
        )
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[id(limits)] = limits, counted, spans
        return spans


class _SharedPart:
    """What one message has taken of one window of a record."""

    __slots__ = ("_key", "_part", "_span", "_table")

    def __init__(self, table: Table, key: bytes, span: Span, part: int) -> None:
        self._table = table
        self._key = key
        self._span = span
        self._part = part

    def take_back(self, then: float) -> None:
        del then  # another worker's clock may have been ahead
        self._table.take_back(self._key, self._span, self._part)


class SharedTurns(Turns):
    """How often each user has sent, by way of whichever worker."""

    def __init__(self, clock: Clock, table: Table) -> None:
        """Go on from what the others have counted."""
        super().__init__(clock)
        self._table = table

    def take(self, user: str, rate: Rate | None) -> bool:
        """See `Turns`; a turn counts for up to 1/64 longer than the rate's time."""
        if rate is None:
            return True
        span = Span(0, rate.seconds, rate.count)
        return self._table.take(key_of("rate", user), [span], self._clock.now()) is not None
