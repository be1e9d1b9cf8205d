"""How long a downstream asks to be left alone, read from the words of its reply.

SMTP has no field for it; servers write it in the text, each in its own words (RFC 5321 4.2 leaves the
text free). What is read is a wish ("try again in", "Retry-After:") and, right behind it, a time:

| form | example |
|---|---|
| number and unit, also several | `try again in 300 seconds`, `wait 1 hour and 30 minutes`, `1h30m` |
| a clock's face | `come back in 00:05:00` |
| a bare number, behind Retry-After only | `Retry-After: 120` |
| an instant with its zone | `resets at 2026-11-23T00:00:00Z`, `resets at 00:00 UTC` |

Whatever is not clearly one of these says nothing: no time at all is better than a wrong one.
"""

import re
from datetime import datetime
from types import MappingProxyType

MAX_REST_S = 86_400.0
"""No hint is honoured for longer: what a reply says may be wrong, or be somebody else's words."""

_WISH = re.compile(
    r"\b(retry[- ]?after|re-?try|try|come back|wait|resets?|available|gr[ae]ylist(?:ed|ing))\b"
    r"(?:[\s:=,(]*\b(?:again|later|back|after|in|for|at|on|until|least|about|approximately|another)\b){0,5}"
    r"[\s:=,(]*",
    re.ASCII | re.IGNORECASE,
)
_PART = re.compile(
    r"(?:(\d{1,7}(?:\.\d{1,3})?)[ -]?|(?:an?|one) )"
    r"(d(?:ays?)?|h(?:rs?|ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z])",
    re.ASCII | re.IGNORECASE,
)
_BETWEEN = re.compile(r",?\s*(?:and\s+)?", re.ASCII | re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)(?![\d:])", re.ASCII)
_BARE = re.compile(r"(\d{1,7})(?![\w.:-])", re.ASCII)
_INSTANT = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)[T ])?([0-2]\d:[0-5]\d(?::[0-5]\d)?) ?(Z|UTC|GMT|[+-]\d\d:\d\d)\b",
    re.ASCII | re.IGNORECASE,
)
_UNITS_S = MappingProxyType({"d": 86_400, "h": 3600, "m": 60, "s": 1})
_DAY_S = 86_400


def rest_hint_s(text: str, now: datetime | None = None) -> float | None:
    """The seconds for which a reply asks to be left alone, at most `MAX_REST_S`.

    Args:
        text: a reply's text, one line.
        now: the present instant with its zone; without it, instants are not read.

    Returns:
        `None` if the text does not say, or names no time to come.
    """
    for wish in _WISH.finditer(text):
        seconds = _instant_s(text, wish.end(), now)
        if seconds is None:
            seconds = _clock_s(text, wish.end())
        if seconds is None:
            seconds = _span_s(text, wish.end())
        if seconds is None and wish[1].lower().endswith("after"):
            bare = _BARE.match(text, wish.end())
            seconds = float(bare[1]) if bare else None
        if seconds is not None:
            return min(seconds, MAX_REST_S) if seconds > 0 else None
    return None


def _span_s(text: str, start: int) -> float | None:
    """`1 hour, 30 min`: parts one behind the other."""
    part = _PART.match(text, start)
    if part is None:
        return None
    seconds = 0.0
    while part is not None:
        seconds += float(part[1] or 1) * _UNITS_S[part[2][0].lower()]
        between = _BETWEEN.match(text, part.end())
        part = _PART.match(text, between.end() if between else part.end())
    return seconds


def _clock_s(text: str, start: int) -> float | None:
    """`00:05:00`, as a length of time."""
    clock = _CLOCK.match(text, start)
    if clock is None:
        return None
    return float(int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3]))


def _instant_s(text: str, start: int, now: datetime | None) -> float | None:
    """How far away an instant is; a time of day without a date is the next one."""
    match = _INSTANT.match(text, start)
    if match is None:
        return None
    if now is None:
        return 0.0  # a clock's face with a zone is no length of time
    offset = match[3] if match[3][0] in "+-" else "+00:00"
    try:
        there = now.astimezone(datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo)
        date = match[1] or there.date().isoformat()
        seconds = (datetime.fromisoformat(f"{date}T{match[2]}{offset}") - now).total_seconds()
    except (ValueError, OverflowError):  # the 31st of February, the end of the calendar
        return 0.0
    return seconds + _DAY_S if match[1] is None and seconds <= 0 else seconds
