"""Conditions on a message. Each says why it holds, or `None`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from smtp_router_rules._facts import Facts
from smtp_router_rules._patterns import Patterns
from smtp_router_rules._sizes import Comparison
from smtp_router_rules._times import Window

_SHOWN = 3


class Condition(Protocol):
    """Something that a message fulfils or not."""

    def why(self, facts: Facts) -> str | None:
        """Why it does, for people; `None` if it does not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Some of the message's values, as its recipients, against patterns.

    Args:
        what: what they are called.
        values: what they are; without any, it does not hold.
        patterns: what one, or each, has to fit.
        every: whether each has to.
    """

    what: str
    values: Callable[[Facts], Sequence[str]]
    patterns: Patterns
    every: bool

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        values = self.values(facts)
        found = [value for value in values if self.patterns.matches(value)]
        if not found or (self.every and len(found) < len(values)):
            return None
        listed = list(dict.fromkeys(value or "<>" for value in found))
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        return f"{self.what} {', '.join(listed[:_SHOWN])}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header field: one of that name, if there are several, whose value fits.

    Args:
        name: its name.
        patterns: for its value; `None`: it only has to be there.
    """

    name: str
    patterns: Patterns | None

    def why(self, facts: Facts) -> str | None:
        """See `Condition`; does not show the value, which is content."""
        values = facts.message.headers.get_all(self.name)
        if self.patterns is None:
            return f"header {self.name} is there" if values else None
        found = any(self.patterns.matches(value) for value in values)
        return f"header {self.name} matches" if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The content's size, as one of these has it."""

    comparisons: Sequence[Comparison]

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        whys = (comparison.why(facts.message.size) for comparison in self.comparisons)
        return next(filter(None, whys), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """When the message was received, in one of these."""

    windows: Sequence[Window]

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        whys = (window.why(facts.message.received_at) for window in self.windows)
        return next(filter(None, whys), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    """All of these."""

    parts: Sequence[Condition]

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        whys = []
        for part in self.parts:
            why = part.why(facts)
            if why is None:
                return None
            whys.append(why)
        return ", ".join(whys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Any:
    """One of these."""

    parts: Sequence[Condition]

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        return next(filter(None, (part.why(facts) for part in self.parts)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """None of these; `text` is how the configuration has it."""

    part: Condition
    text: str

    def why(self, facts: Facts) -> str | None:
        """See `Condition`."""
        return f"not {self.text}" if self.part.why(facts) is None else None
