"""Records by name in shared memory: how many each worker has now, and how many there were lately.

Rules:
1. A record is read and changed under the lock of its set, so what is counted is exact however many
   processes count at once. Only who merely looks (`opens_at`, `held`, `may_count`) does without: it may
   be wrong by what happens at that instant, and whoever takes asks again.
2. What a worker holds stands in a column of its own, so it can be taken away when the worker is dead.
   What it has counted in a window stays: nobody knows whether it was sent. While a worker holds anything
   its record stays, and nobody else writes in its column: to change that takes no lock.
3. A record is never removed, only replaced: one that nobody holds and whose windows are past; where a
   set has none such, the one that would be soonest.
4. So a process remembers where it has found a record, and sees by the key there whether it still is.

A window is that of `smtp_router.core.window`, as numbers: a span in 64 parts, each with a count.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from smtp_router.core.window import PARTS, TICK_S
from smtp_router.shared.memory import WORD, SharedMemory

IN_A_SET = 64
"""Records in a set; which set a name is in, its digest says."""

_KEY = 16  # octets of a digest
_KEY_WORDS = _KEY // WORD
_RING = PARTS + 1
_SPAN, _NEWEST, _TOTAL, _COUNTS = range(4)  # of a window; the counts are a ring
_WINDOW = _COUNTS + _RING
_MICRO = 1_000_000
_MOST_KNOWN = 10_000
"""Places that are remembered."""


class Span(NamedTuple):
    """A window of a record."""

    position: int
    """Which of the record's."""
    seconds: float
    """How long it is; a record that had another one there begins anew."""
    limit: int | None
    """How many there may be; `None`: it only counts."""


@lru_cache(_MOST_KNOWN)
def key_of(kind: str, name: str) -> bytes:
    """The key of a record."""
    return hashlib.blake2b(f"{kind}/{name}".encode(), digest_size=_KEY).digest()


class Table:
    """Records of one kind."""

    def __init__(
        self, memory: SharedMemory, *, at: int, sets: int, workers: int, windows: int, worker: int
    ) -> None:
        """Find it in memory; all 0 is an empty one.

        Args:
            memory: where it is.
            at: from which word on, and with which lock its locks begin.
            sets: how many there are.
            workers: how many columns a record has.
            windows: how many windows.
            worker: this process's column.
        """
        self._memory = memory
        self._words = memory.words
        self._at = at
        self._sets = sets
        self._workers = workers
        self._windows = windows
        self._worker = worker
        self._known: dict[bytes, tuple[int, int, int]] = {}
        """Where a key begins and ends, in octets, and where its record is."""
        self._record_size = _record_words(workers, windows)
        self._set_size = IN_A_SET * (_KEY_WORDS + self._record_size)

    @staticmethod
    def size(*, sets: int, workers: int, windows: int) -> int:
        """How many words one takes."""
        return sets * IN_A_SET * (_KEY_WORDS + _record_words(workers, windows))

    def held(self, key: bytes) -> int:
        """How many all workers hold."""
        record = self._find(key)
        return self._held(record) if record else 0

    def opens_at(
        self, key: bytes, spans: Sequence[Span], now: float, *, at_once: int | None = None
    ) -> float:
        """From which instant on all windows have room; `now` if they have.

        Args:
            key: the record's.
            spans: its windows.
            now: the present instant.
            at_once: how many there may be at the same time; infinity, if there are.
        """
        record = self._find(key)
        return self._room_at(record, spans, now, at_once) if record else now

    def may_count(self, key: bytes, position: int) -> bool:
        """Whether there is any in a window, or was until somebody last counted."""
        record = self._find(key)
        return record != 0 and self._words[self._window(record, position) + _TOTAL] != 0

    def counted(self, key: bytes, span: Span, now: float) -> int:
        """How many there are in a window."""
        number = self._enter(key)
        try:
            at = self._window(self._record(key, now, span.seconds), span.position)
            self._advance(at, span, now)
            return self._words[at + _TOTAL]
        finally:
            self._memory.unlock(number)

    def take(
        self,
        key: bytes,
        spans: Sequence[Span],
        now: float,
        *,
        at_once: int | None = None,
        hold: bool = False,
    ) -> tuple[int, ...] | None:
        """Count one more in every window, if each has room; all of it or nothing.

        Args:
            key: the record's.
            spans: its windows.
            now: the present instant.
            at_once: how many there may be at the same time.
            hold: whether it is one of those, until `release`.

        Returns:
            The part of each window that it is in; `None` if there was no room.
        """
        number = self._enter(key)
        try:
            longest = max([span.seconds for span in spans], default=0.0)
            record = self._record(key, now, longest)
            if self._room_at(record, spans, now, at_once) > now:
                return None
            if hold:
                self._words[record + 1 + self._worker] += 1
            return tuple([self._add(self._window(record, span.position), span, now) for span in spans])
        finally:
            self._memory.unlock(number)

    def release(self, key: bytes) -> None:
        """Hold one less."""
        record = self._find(key)
        if record and self._words[record + 1 + self._worker]:
            self._words[record + 1 + self._worker] -= 1

    def hold(self, key: bytes, count: int, now: float) -> int:
        """Say how many this worker holds; how many all do."""
        record = self._find(key)
        if record and self._words[record + 1 + self._worker]:
            self._words[record + 1 + self._worker] = count
            return self._held(record)
        number = self._enter(key)
        try:
            record = self._record(key, now, 0.0)
            self._words[record + 1 + self._worker] = count
            return self._held(record)
        finally:
            self._memory.unlock(number)

    def take_back(self, key: bytes, span: Span, part: int | None = None) -> None:
        """Count one less in a window.

        Args:
            key: the record's.
            span: its window.
            part: the part in which it was counted; `None`: the newest that has any.
        """
        number = self._enter(key)
        try:
            record = self._find(key)
            if not record:
                return
            words, at = self._words, self._window(record, span.position)
            newest = words[at + _NEWEST]
            parts = range(newest, newest - _RING, -1) if part is None else (part,)
            for each in parts:
                slot = at + _COUNTS + each % _RING
                if newest - _RING < each <= newest and words[slot]:
                    words[slot] -= 1
                    words[at + _TOTAL] -= 1
                    return
        finally:
            self._memory.unlock(number)

    def free(self, worker: int) -> None:
        """Let go of all that a worker held that has died, and mend what it left half done."""
        for number in range(self._sets):
            self._memory.lock(self._at + number)
            try:
                keys, first = self._set(number)
                for position in range(IN_A_SET):
                    if self._words[keys + _KEY_WORDS * position]:
                        self._mend(first + position * self._record_size, worker)
            finally:
                self._memory.unlock(self._at + number)

    # Where it is

    def _set(self, number: int) -> tuple[int, int]:
        """Where its keys begin, and its records."""
        keys = self._at + number * self._set_size
        return keys, keys + IN_A_SET * _KEY_WORDS

    def _number(self, key: bytes) -> int:
        return int.from_bytes(key[:4], "little") % self._sets

    def _enter(self, key: bytes) -> int:
        """Take the lock of a key's set; its number."""
        number = self._at + self._number(key)
        self._memory.lock(number)
        return number

    def _find(self, key: bytes) -> int:
        """Where its record is; 0 if there is none."""
        known = self._known.get(key)
        if known is not None and self._memory.octets[known[0] : known[1]] == key:
            return known[2]
        keys, first = self._set(self._number(key))
        position = self._position(key, keys)
        if position < 0:
            return 0
        record = first + position * self._record_size
        start = (keys + position * _KEY_WORDS) * WORD
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = start, start + _KEY, record
        return record

    def _position(self, key: bytes, keys: int) -> int:
        start, end = keys * WORD, (keys + IN_A_SET * _KEY_WORDS) * WORD
        found = self._memory.octets.find(key, start, end)
        while found >= 0 and (found - start) % _KEY:  # parts of two others
            found = self._memory.octets.find(key, found + 1, end)
        return (found - start) // _KEY if found >= 0 else -1

    def _record(self, key: bytes, now: float, seconds: float) -> int:
        """Where its record is, which is made if it is not there; it is needed for so long."""
        record = self._find(key)
        needed = int((now + seconds * (1 + 2 / PARTS)) * _MICRO)
        if record:
            self._words[record] = max(self._words[record], needed)
            return record
        keys, first = self._set(self._number(key))
        position = self._position(bytes(_KEY), keys)
        if position < 0:
            position = self._replaceable(first, key[-1] % IN_A_SET, now)
        record = first + position * self._record_size
        end = record + self._record_size
        self._words[record:end] = memoryview(bytes((end - record) * WORD)).cast("q")
        self._words[record] = needed
        start = (keys + position * _KEY_WORDS) * WORD
        self._memory.octets[start : start + _KEY] = key
        return record

    def _replaceable(self, first: int, start: int, now: float) -> int:
        """Which record of a full set is needed least; looked at from `start` on."""
        best, least = start, math.inf
        for step in range(IN_A_SET):
            position = (start + step) % IN_A_SET
            record = first + position * self._record_size
            needed = math.inf if self._held(record) else self._words[record]
            if needed <= now * _MICRO:
                return position
            if needed < least:
                best, least = position, needed
        return best

    def _window(self, record: int, position: int) -> int:
        return record + 1 + self._workers + position * _WINDOW

    # What is in it

    def _room_at(self, record: int, spans: Sequence[Span], now: float, at_once: int | None) -> float:
        if at_once is not None and self._held(record) >= at_once:
            return math.inf
        latest = now
        for span in spans:
            latest = max(latest, self._opens_at(self._window(record, span.position), span, now))
        return latest

    def _held(self, record: int) -> int:
        return sum(self._words[record + 1 : record + 1 + self._workers])

    def _advance(self, at: int, span: Span, now: float) -> int:
        """Forget what is past; the part of the window that is now."""
        words, micro = self._words, round(span.seconds * _MICRO)
        part = math.floor(now * PARTS / span.seconds)
        if words[at + _SPAN] != micro:
            words[at : at + _WINDOW] = memoryview(bytes(_WINDOW * WORD)).cast("q")
            words[at + _SPAN], words[at + _NEWEST] = micro, part
        newest = words[at + _NEWEST]
        for each in range(max(newest + 1, part - PARTS), part + 1):
            slot = at + _COUNTS + each % _RING
            if words[slot]:
                words[at + _TOTAL] -= words[slot]
                words[slot] = 0
        words[at + _NEWEST] = max(newest, part)
        return max(newest, part)  # another worker may have looked at its clock a little later

    def _add(self, at: int, span: Span, now: float) -> int:
        part = self._advance(at, span, now)
        self._words[at + _TOTAL] += 1  # first: who is killed in between has counted too much
        self._words[at + _COUNTS + part % _RING] += 1
        return part

    def _opens_at(self, at: int, span: Span, now: float) -> float:
        words = self._words
        if span.limit is None:
            return now
        too_many = words[at + _TOTAL] - span.limit + 1
        if too_many <= 0 or words[at + _SPAN] != round(span.seconds * _MICRO):
            return now
        per_second = PARTS / span.seconds
        past = math.floor(now * per_second) - PARTS
        newest = words[at + _NEWEST]
        for part in range(newest - PARTS, newest + 1):
            too_many -= words[at + _COUNTS + part % _RING]
            if too_many <= 0:
                return now if part < past else (part + PARTS + 1) / per_second + TICK_S
        return math.inf

    def _mend(self, record: int, worker: int) -> None:
        words = self._words
        words[record + 1 + worker] = 0
        for position in range(self._windows):
            at = self._window(record, position)
            words[at + _TOTAL] = sum(words[at + _COUNTS : at + _WINDOW])


def _record_words(workers: int, windows: int) -> int:
    """Until when it is needed (in µs), what each worker holds, the windows."""
    return 1 + workers + windows * _WINDOW
