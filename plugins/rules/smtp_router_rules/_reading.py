"""From what YAML gives to conditions. Every error names the option's path, as `rules.2.if.size`."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from operator import attrgetter

from smtp_router_rules import _domains, _sizes, _times
from smtp_router_rules._conditions import All, Any, Condition, Header, Matches, Not, Size, Time
from smtp_router_rules._patterns import Patterns, Texts

_FIELD_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for all conditions of a rule.

    Args:
        every: whether each recipient has to fit, or one.
        zone: of times that name none.
    """

    every: bool
    zone: tzinfo


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the option's path before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def mapping(place: str, given: object, *known: str) -> Mapping[str, object]:
    """A mapping with these keys, or with any text as key if none is named.

    Raises:
        ValueError: it is none, is empty, or has another key.
    """
    if not isinstance(given, Mapping) or not given:
        takes = f" of {', '.join(known)}" if known else ""
        raise ValueError(f"{place}: must be a mapping{takes}, and not empty")
    for key in given:
        if not isinstance(key, str) or (known and key not in known):
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'text'}"
            raise ValueError(f"{place}.{key}: is not an option: {hint}")
    return given


def texts(place: str, given: object) -> list[str]:
    """A text, or a list of some.

    Raises:
        ValueError: neither, or empty.
    """
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise ValueError(f"{place}: is empty")
    found = []
    for number, one in enumerate(listed):
        where = f"{place}.{number}" if isinstance(given, list) else place
        if not isinstance(one, str):
            raise ValueError(
                f"{where}: must be text (in quotes, if it looks like something else): {one!r}"
            )
        if not one:
            raise ValueError(f"{where}: is empty")
        found.append(one)
    return found


def condition(place: str, given: object, defaults: Defaults) -> Condition:
    """What stands under `if`: all of it has to hold.

    Raises:
        ValueError: it is not valid.
    """
    given = mapping(place, given, *_READERS)
    parts = [_READERS[key](f"{place}.{key}", value, defaults) for key, value in given.items()]
    return parts[0] if len(parts) == 1 else All(parts=parts)


def _addresses(place: str, listed: list[str]) -> Patterns:
    with at(place):
        return _domains.Addresses(listed)


def _domain_patterns(place: str, listed: list[str]) -> Patterns:
    return _domains.Domains(_each(place, listed, _domains.pattern))


def _sites(place: str, listed: list[str]) -> Patterns:
    return _domains.Domains(_each(place, listed, _site))


def _site(given: str) -> str:
    domain = _domains.pattern(given)
    registered = _domains.site(domain)
    if registered != domain:
        hint = f"; did you mean {registered}?" if registered else ": it is a public suffix"
        raise ValueError(f"{given} is no domain as somebody registers it{hint}")
    return domain


def _each(place: str, listed: Iterable[str], read: Callable[[str], str]) -> Iterator[str]:
    for one in listed:
        with at(place):
            yield read(one)


def _values(
    what: str, patterns: Callable[[str, list[str]], Patterns]
) -> Callable[[str, object, Defaults], Condition]:
    """A reader for values of the message that `Facts` has under the condition's name."""

    def read(place: str, given: object, defaults: Defaults) -> Condition:
        found = patterns(place, texts(place, given))
        return Matches(what=what, values=attrgetter(what), patterns=found, every=defaults.every)

    return read


def _header(place: str, given: object, _: Defaults) -> Condition:
    parts = []
    for name, value in mapping(place, given).items():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{place}.{name}: is no name of a header field")
        listed = texts(f"{place}.{name}", value)
        parts.append(Header(name=name, patterns=None if "*" in listed else Texts(listed)))
    return All(parts=parts)


def _size(place: str, given: object, _: Defaults) -> Condition:
    with at(place):
        return Size(comparisons=[_sizes.comparison(one) for one in texts(place, given)])


def _time(place: str, given: object, defaults: Defaults) -> Condition:
    listed = given if isinstance(given, list) else [given]
    windows = []
    for number, one in enumerate(listed):
        where = f"{place}.{number}" if isinstance(given, list) else place
        window = mapping(where, one, "days", "hours", "zone")
        with at(f"{where}.zone"):
            zone = _times.zone(window["zone"]) if "zone" in window else defaults.zone
        days = texts(f"{where}.days", window.get("days", "mon-sun"))
        with at(f"{where}.days"):
            days_found = _times.days(days)
        listed_hours = texts(f"{where}.hours", window["hours"]) if "hours" in window else []
        with at(f"{where}.hours"):
            hours = [_times.hours(one) for one in listed_hours] or [_times.WHOLE_DAY]
        windows.append(_times.Window(days=days_found, hours=hours, zone=zone))
    if not windows:
        raise ValueError(f"{place}: is empty")
    return Time(windows=windows)


def _parts(place: str, given: object, defaults: Defaults) -> list[Condition]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"{place}: must be a list of conditions, and not empty")
    return [condition(f"{place}.{number}", one, defaults) for number, one in enumerate(given)]


def _all(place: str, given: object, defaults: Defaults) -> Condition:
    return All(parts=_parts(place, given, defaults))


def _any(place: str, given: object, defaults: Defaults) -> Condition:
    return Any(parts=_parts(place, given, defaults))


def _not(place: str, given: object, defaults: Defaults) -> Condition:
    part = condition(place, given, defaults)
    return Not(part=part, text=json.dumps(given, ensure_ascii=False))


_READERS: Mapping[str, Callable[[str, object, Defaults], Condition]] = {
    "sender": _values("sender", _addresses),
    "sender_domain": _values("sender_domain", _domain_patterns),
    "sender_site": _values("sender_site", _sites),
    "recipient": _values("recipient", _addresses),
    "recipient_domain": _values("recipient_domain", _domain_patterns),
    "recipient_site": _values("recipient_site", _sites),
    "user": _values("user", lambda _, listed: Texts(listed)),
    "header": _header,
    "size": _size,
    "time": _time,
    "all": _all,
    "any": _any,
    "not": _not,
}
