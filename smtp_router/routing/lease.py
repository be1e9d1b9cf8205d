"""Units of a quota that are this process's to use, and who keeps the books about them."""

from typing import Protocol

from smtp_router.state.ledger import Grant, Period, grant_of


class Books(Protocol):
    """Where it stands who has how many units; `smtp_router.state.ledger.Ledger` says what each does."""

    async def lease(self, slot: int, period: Period, *, owed: int = 0) -> Grant:
        """Lease units, or some more."""
        ...

    def used(self, slot: int, units: int) -> None:
        """So many units of a lease are used."""
        ...

    async def end(self, slot: int, period: Period, *, used: int) -> None:
        """End a lease."""
        ...

    async def close(self, *, all_ended: bool) -> None:
        """No more leases."""
        ...


class Lease:
    """Units of one period."""

    __slots__ = (
        "is_ended",
        "leased",
        "owed",
        "period",
        "reserved",
        "slot",
        "touched",
        "under_way",
        "used",
    )

    def __init__(self, slot: int, period: Period) -> None:
        """No unit is leased yet."""
        self.slot = slot
        self.period = period
        self.leased = 0
        self.reserved = 0
        """Of these, for messages whose final dot is not out yet."""
        self.used = 0
        """... and for those that were taken or may have been."""
        self.under_way = 0
        """How many messages may yet give theirs back."""
        self.owed = 0
        """How many of them the books do not know of yet."""
        self.touched = True
        """Whether it was needed lately."""
        self.is_ended = False

    @property
    def free(self) -> int:
        """How many nobody has a claim on."""
        return self.leased - self.reserved - self.used


class BooksInMemory:
    """For a router that keeps no state: a simulation, a test."""

    def __init__(self) -> None:
        """Nothing is leased yet."""
        self._counted: dict[tuple[str, str], int] = {}
        self._leased: dict[int, int] = {}

    async def lease(self, slot: int, period: Period, *, owed: int = 0) -> Grant:
        """Lease units, or some more."""
        key = period.name, period.label
        counted = self._counted.get(key, 0) + owed
        grant = grant_of(max(period.limit - counted, 0))
        self._counted[key] = counted + grant.units
        self._leased[slot] = self._leased.get(slot, 0) + grant.units + owed
        return grant

    def used(self, slot: int, units: int) -> None:
        """Nothing outlives this process."""

    async def end(self, slot: int, period: Period, *, used: int) -> None:
        """End a lease."""
        key = period.name, period.label
        self._counted[key] = self._counted.get(key, 0) + used - self._leased.pop(slot, 0)

    async def close(self, *, all_ended: bool) -> None:
        """Nothing is open."""
