"""How much of a month is used: what was sent, and what is being sent. No I/O and no clock.

A message is held for when its downstream is chosen, so that many at the same time do not all take the
last free one. What is held is counted or given back when its attempt ends. A choice that no attempt
follows (the client has gone, a plugin refuses) is given back when the same message is asked for again,
or has been held for too long.
"""

from collections.abc import Mapping
from typing import NamedTuple

_HELD_S = 900.0
"""No attempt takes longer: a client would have gone (RFC 5321 4.5.3.2.6: after ten minutes)."""


class Place(NamedTuple):
    """Where something is counted."""

    month: str
    """As in `2026-11`."""
    account: str


class Count(NamedTuple):
    """How much it is."""

    messages: int = 0
    recipients: int = 0

    def plus(self, other: "Count") -> "Count":
        """Both."""
        return Count(self.messages + other.messages, self.recipients + other.recipients)

    def minus(self, other: "Count") -> "Count":
        """This one without the other."""
        return Count(self.messages - other.messages, self.recipients - other.recipients)


class _Hold(NamedTuple):
    account: str
    size: Count
    until: float


_NONE = Count()


class Book:
    """The counts of one user's algorithm."""

    def __init__(self, known: Mapping[Place, Count]) -> None:
        """Nothing is held.

        Args:
            known: what was counted before.
        """
        self._known = dict(known)
        self._unsaved: dict[Place, Count] = {}
        self._holds: dict[str, _Hold] = {}  # by message; the oldest first
        self._held: dict[str, Count] = {}  # by account

    def counted(self, place: Place) -> Count:
        """What was sent."""
        return self._known.get(place, _NONE)

    def used(self, place: Place) -> Count:
        """What was sent, and what is being sent."""
        return self.counted(place).plus(self._held.get(place.account, _NONE))

    def hold(self, message: str, account: str, count: Count, now: float) -> None:
        """A message that is not held for may be sent there."""
        self._holds[message] = _Hold(account, count, now + _HELD_S)
        self._held[account] = self._held.get(account, _NONE).plus(count)

    def release(self, message: str) -> None:
        """It is not being sent, or not any more."""
        hold = self._holds.pop(message, None)
        if hold:
            self._held[hold.account] = self._held[hold.account].minus(hold.size)

    def release_old(self, now: float) -> None:
        """Give back what has been held for too long."""
        while self._holds:
            message = next(iter(self._holds))
            if self._holds[message].until > now:
                break
            self.release(message)

    def add(self, place: Place, count: Count) -> None:
        """This was sent; 0 for a place that is to be seen."""
        self._known[place] = self.counted(place).plus(count)
        self._unsaved[place] = self._unsaved.get(place, _NONE).plus(count)

    @property
    def is_saved(self) -> bool:
        """Whether there is nothing to save."""
        return not self._unsaved

    def take_unsaved(self) -> dict[Place, Count]:
        """What is to be saved now."""
        unsaved, self._unsaved = self._unsaved, {}
        return unsaved

    def saved(self, totals: Mapping[Place, Count]) -> None:
        """That was saved, and this is what there is now, what others have saved included."""
        for place, total in totals.items():
            self._known[place] = total.plus(self._unsaved.get(place, _NONE))

    def not_saved(self, changes: Mapping[Place, Count]) -> None:
        """That could not be saved."""
        for place, count in changes.items():
            self._unsaved[place] = self._unsaved.get(place, _NONE).plus(count)
