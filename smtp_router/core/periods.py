"""Days and months by the calendar, in UTC, by a clock that somebody may set."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

SET_BACK = timedelta(hours=2)
"""A clock that is set back by less is waited for: a day that has begun does not end before it began."""
_MORE_THAN_A_MONTH = 32


class Kind(StrEnum):
    """What quotas are given by."""

    DAY = "day"
    MONTH = "month"


class Calendar:
    """Which day and month it is."""

    def __init__(self) -> None:
        """Nobody has said yet what time it is."""
        self._latest = datetime.min.replace(tzinfo=UTC)

    def label(self, kind: Kind, now: datetime) -> str:
        """What the present day or month is called.

        Args:
            kind: which of the two.
            now: what the clock says, in UTC.

        Returns:
            `2026-08-01` or `2026-08`; so of two labels, the later one is the greater.
        """
        today = self._straightened(now).date().isoformat()
        return today if kind is Kind.DAY else today[:7]

    def seconds_left(self, kind: Kind, now: datetime) -> float:
        """How long it is until the next one."""
        end = self._straightened(now).replace(hour=0, minute=0, second=0, microsecond=0)
        if kind is Kind.DAY:
            end += timedelta(days=1)
        else:
            end = (end.replace(day=1) + timedelta(days=_MORE_THAN_A_MONTH)).replace(day=1)
        return (end - now).total_seconds()

    def _straightened(self, now: datetime) -> datetime:
        if now < self._latest < now + SET_BACK:
            return self._latest
        self._latest = now
        return now
