"""Patterns for text: `*` stands for any run of characters, `?` for one. Case makes no difference.

Matching takes time in proportion to the text: each part between two stars is looked for once, from
left to right. So no pattern, and nobody's text, can hold the router up, as regular expressions can.
"""

import re
from collections.abc import Iterable
from typing import Protocol


class Patterns(Protocol):
    """Several of them, of which one has to fit."""

    def matches(self, text: str) -> bool:
        """Whether one fits all of the text."""
        ...


class Glob:
    """One pattern."""

    __slots__ = ("_first", "_last", "_last_length", "_middle")

    def __init__(self, pattern: str) -> None:
        first, *rest = pattern.casefold().split("*")
        self._first = _part(first)
        self._last_length = len(rest[-1]) if rest else 0
        self._last = _part(rest[-1]) if rest else None
        self._middle = tuple(_part(part) for part in rest[:-1] if part)

    def matches(self, text: str) -> bool:
        """Whether it fits all of a text, which is case-folded."""
        if self._last is None:
            return self._first.fullmatch(text) is not None
        found = self._first.match(text)
        end = len(text) - self._last_length
        if found is None or end < found.end() or not self._last.match(text, end):
            return False
        at = found.end()
        for part in self._middle:
            found = part.search(text, at, end)
            if found is None:
                return False
            at = found.end()
        return True


class Texts:
    """Patterns for any text."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, patterns: Iterable[str]) -> None:
        listed = tuple(patterns)
        self._exact = frozenset(one.casefold() for one in listed if not is_wild(one))
        self._globs = tuple(Glob(one) for one in listed if is_wild(one))

    def matches(self, text: str) -> bool:
        """See `Patterns`."""
        text = text.casefold()
        return text in self._exact or any(glob.matches(text) for glob in self._globs)


def is_wild(pattern: str) -> bool:
    """Whether it stands for more than one text."""
    return "*" in pattern or "?" in pattern


def _part(text: str) -> re.Pattern[str]:
    """What stands between two stars: of a fixed length, so nothing in it can be tried twice."""
    return re.compile("".join("." if one == "?" else re.escape(one) for one in text), re.DOTALL)
