"""Limits by the day and by the month, which outlive this process and are shared with others.

Rules:
1. A message is sent with a unit that this process has leased before, so that to take one costs nothing.
2. A unit is used from just before the final dot on, which a killed process leaves behind in writing.
3. What was leased and not used goes back when nobody has needed it for a while, and at the end.
4. While the state file cannot be used, units are counted in memory, from where it was last.
"""

import asyncio
import logging
import math
from weakref import WeakValueDictionary

from smtp_router.core.clock import Clock
from smtp_router.core.periods import Calendar, Kind
from smtp_router.routing.lease import Books, Lease
from smtp_router.state.file import StateError
from smtp_router.state.ledger import Period, grant_of

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often it is seen what day it is, if no new one begins meanwhile."""


class Quota:
    """One limit of one name, by the day or the month."""

    def __init__(self, quotas: "Quotas", name: str, kind: Kind, limit: int) -> None:
        """Nothing is leased yet.

        Args:
            quotas: all of this process.
            name: under which it is counted.
            kind: by the day or the month.
            limit: how many units a period has.
        """
        self._quotas = quotas
        self._name, self._kind, self._limit = name, kind, limit
        self._lease: Lease | None = None
        self._known = ("", 0)  # in which period, and how many are left in it
        self._refilling: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        """`10000 per month`."""
        return f"{self._limit} per {self._kind}"

    def has_room(self) -> bool:
        """Whether there is a unit to take, or may be: `ready` knows."""
        label = self._quotas.label(self._kind)
        if self._known != (label, 0) or self._free_in(label):
            return True
        self._quotas.missed.add(self)
        return False

    def seconds_left(self) -> float:
        """How long it is until the next period."""
        return self._quotas.seconds_left(self._kind)

    async def ready(self) -> bool:
        """Lease units if there are none to take; whether there are any then."""
        while self.has_room():
            if self.has_unit():
                return True
            await self.refill()
        return False

    def has_unit(self) -> bool:
        """Whether there is a unit to take."""
        return self._free_in(self._quotas.label(self._kind))

    def take(self) -> Lease:
        """Take a unit; `has_unit` has just said that there is one."""
        assert self._lease is not None
        self._lease.reserved += 1
        self._lease.under_way += 1
        self._lease.touched = True
        return self._lease

    def commit(self, lease: Lease) -> None:
        """The unit that was taken is used from now on."""
        lease.reserved -= 1
        lease.used += 1
        self._quotas.write(lease)

    def take_back(self, lease: Lease, *, committed: bool) -> None:
        """The unit that was taken was not used after all."""
        if committed:
            lease.used -= 1
            self._quotas.write(lease)
        else:
            lease.reserved -= 1

    def leave(self, lease: Lease) -> None:
        """The message is done, and what became of its unit will not change any more."""
        lease.under_way -= 1

    async def refill(self) -> None:
        """Lease some more. All who need them wait for the same."""
        if self._refilling is None:
            self._refilling = asyncio.ensure_future(self._refill())
        await asyncio.shield(self._refilling)

    async def _refill(self) -> None:
        try:
            label = self._quotas.label(self._kind)
            lease = self._lease_of(label)
            if lease is None:
                lease = self._lease = self._quotas.begin(Period(self._name, label, self._limit))
            left = self._known[1] if self._known[0] == label else self._limit
            self._known = label, await self._quotas.extend(lease, left)
        finally:
            self._refilling = None

    def _free_in(self, label: str) -> bool:
        lease = self._lease_of(label)
        return lease is not None and lease.free > 0

    def _lease_of(self, label: str) -> Lease | None:
        lease = self._lease
        return lease if lease and not lease.is_ended and lease.period.label == label else None


class Quotas:
    """All quotas of this process."""

    def __init__(self, clock: Clock, books: Books) -> None:
        """Nothing is leased yet.

        Args:
            clock: says which day it is.
            books: who has how many units.
        """
        self._clock = clock
        self._calendar = Calendar()
        self._books = books
        self._quotas: WeakValueDictionary[tuple[str, Kind, int], Quota] = WeakValueDictionary()
        self._leases: set[Lease] = set()
        self._slots = 0
        self._free_slots: list[int] = []
        self._is_failing = False
        self._labels: dict[Kind, str] = {}
        self._look_again_at = -math.inf
        self.missed: set[Quota] = set()
        """Those that had no unit when one was wanted; somebody may give one back."""

    def of(self, name: str, kind: Kind, limit: int) -> Quota:
        """The quota of this name, kind and limit."""
        key = (name, kind, limit)
        quota = self._quotas.get(key)
        if quota is None:
            quota = self._quotas[key] = Quota(self, *key)
        return quota

    async def tidy(self) -> None:
        """Give back what nobody needs, and see whether others have; to be called about once a second."""
        for lease in tuple(self._leases):
            if lease.owed:
                await self.extend(lease, 0)
            elif lease.is_ended or not (lease.touched or lease.under_way or self._is_failing):
                await self._end(lease)
            lease.touched = False
        missed, self.missed = self.missed, set()
        for quota in missed:
            await quota.refill()

    async def close(self) -> None:
        """Give everything back."""
        for lease in tuple(self._leases):
            if not lease.under_way:
                await self._end(lease)
        await self._books.close(all_ended=not self._leases)

    # For the quotas.

    def label(self, kind: Kind) -> str:
        """What the present period is called, as somebody saw who looked less than a second ago."""
        now = self._clock.now()
        if now >= self._look_again_at:
            wall = self._clock.wall()
            self._labels = {each: self._calendar.label(each, wall) for each in Kind}
            self._look_again_at = now + min(LOOK_S, self.seconds_left(Kind.DAY))
        return self._labels[kind]

    def seconds_left(self, kind: Kind) -> float:
        """How long it is until the next one."""
        return self._calendar.seconds_left(kind, self._clock.wall())

    def begin(self, period: Period) -> Lease:
        """A lease, without units yet."""
        if not self._free_slots:
            self._free_slots.append(self._slots)
            self._slots += 1
        lease = Lease(self._free_slots.pop(), period)
        self._leases.add(lease)
        return lease

    async def extend(self, lease: Lease, left: int) -> int:
        """Lease more units, and tell the books of those they do not know of.

        Args:
            lease: to which they come.
            left: how many there are beside what is leased, as far as is known.

        Returns:
            How many there are beside it after that.
        """
        lease.touched = True
        owed = lease.owed
        try:
            units, left = await self._books.lease(lease.slot, lease.period, owed=owed)
        except StateError as error:
            self._failed(error)
            units, left = grant_of(left)
            lease.owed += units
        else:
            lease.owed -= owed
            self._worked()
            if owed and not lease.is_ended:
                self.write(lease)
        lease.leased += units
        return left

    def write(self, lease: Lease) -> None:
        """Put in writing how many of its units are used."""
        try:
            self._books.used(lease.slot, lease.used)
        except StateError as error:
            self._failed(error)

    async def _end(self, lease: Lease) -> None:
        lease.is_ended = True  # nobody takes a unit of it while the books are being kept
        try:
            await self._books.end(lease.slot, lease.period, used=lease.used)
        except StateError as error:
            self._failed(error)
        else:
            self._leases.discard(lease)
            self._free_slots.append(lease.slot)
            self._worked()

    def _failed(self, error: StateError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.error(
                "state file cannot be used, quotas are counted in memory",
                extra={"fields": {"problem": str(error)}},
            )

    def _worked(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("state file works again")
