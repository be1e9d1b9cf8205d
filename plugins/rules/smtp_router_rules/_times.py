"""When: days of the week and hours of the day, by the clock on a wall somewhere."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_HOURS = re.compile(r"(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """From a minute of the day to before another; on the next day, if that is not later."""

    start: int
    end: int
    text: str


WHOLE_DAY = Hours(start=0, end=_DAY_MINUTES, text="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Hours that begin on some days of the week.

    Args:
        days: 0 is Monday.
        hours: several are or-ed.
        zone: whose wall it is.
    """

    days: frozenset[int]
    hours: Sequence[Hours]
    zone: tzinfo

    def why(self, at: datetime) -> str | None:
        """The reason why an instant is in it; `None` if it is not."""
        local = at.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        for hours in self.hours:
            if hours.start < hours.end:
                inside = day in self.days and hours.start <= minute < hours.end
            else:
                began_today = day in self.days and minute >= hours.start
                inside = began_today or ((day - 1) % 7 in self.days and minute < hours.end)
            if inside:
                where = f" in {hours.text}" if hours.text else ""
                return f"time {DAYS[day]} {local:%H:%M} {self.zone}{where}"
        return None


def zone(given: object) -> tzinfo:
    """A time zone by its name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(given if isinstance(given, str) else "")
    except (KeyError, ValueError, OSError):
        raise ValueError(f"is no time zone, as Europe/Berlin: {given!r}") from None


def days(texts: Sequence[str]) -> frozenset[int]:
    """Days of the week, as `mon` or `mon-fri`.

    Raises:
        ValueError: they are none.
    """
    return frozenset(day for text in texts for day in _days(text))


def _days(text: str) -> Iterator[int]:
    first, dash, last = (part.strip() for part in text.lower().partition("-"))
    try:
        start, end = DAYS.index(first), DAYS.index(last if dash else first)
    except ValueError:
        raise ValueError(f"takes {', '.join(DAYS)}, or mon-fri, not {text!r}") from None
    for step in range((end - start) % 7 + 1):
        yield (start + step) % 7


def hours(text: str) -> Hours:
    """Hours of the day, as `22:00-06:00`.

    Raises:
        ValueError: they are none.
    """
    found = _HOURS.fullmatch(text.strip())
    if found:
        start, end = (int(found[i]) * 60 + int(found[i + 1]) for i in (1, 3))
        minutes = max(int(found[2]), int(found[4]))
        if start < _DAY_MINUTES and end <= _DAY_MINUTES and minutes < 60 and start != end:  # noqa: PLR2004
            return Hours(start=start, end=end, text=text.strip())
    raise ValueError(f"takes hours as 22:00-06:00, not {text!r}")
