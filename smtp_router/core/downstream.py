"""A downstream as a plugin sees it: who it is and how it fares, never its credentials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from smtp_router.core.draft import draft_of
from smtp_router.core.window import Timed, p95


class HealthState(StrEnum):
    """Whether a downstream is worth trying."""

    CLOSED = "closed"
    """It works, as far as anybody knows."""
    HALF_OPEN = "half_open"
    """It has rested, and is being tried again, by few messages at the same time."""
    OPEN = "open"
    """It rests: it is offered only if all others rest, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A downstream's live figures, frozen at the moment the plugin is asked.

    They are those of the account: all downstreams with the same server and login share them. They count
    since the router started, or since the server's or login's settings last changed.

    Args:
        state: whether it is worth trying.
        in_flight: attempts under way now.
        delivered: attempts that ended in a delivery.
        failed: attempts that ended otherwise for a reason that is not the message's own.
        consecutive_failures: how many of those have come since the last delivery.
        success_rate: `delivered` of both, from 0 to 1, over the last `window_s`; 1 if there were none.
        latency_s: how long a delivery takes, in seconds, the latest ones weighing most; 0 before the
            first.
        p95_s: 95 of the last 100 deliveries took no longer, in seconds; 0 before the first.
    """

    state: HealthState = HealthState.CLOSED
    in_flight: int = 0
    delivered: int = 0
    failed: int = 0
    consecutive_failures: int = 0
    success_rate: float = 1.0
    latency_s: float = 0.0
    p95_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Downstream:
    """A server that mail can be handed to.

    Args:
        name: unique among the user's downstreams.
        host: name or address, without brackets; of a Unix socket, `unix:` and its path.
        port: TCP port; of a Unix socket, 0.
        options: what the configuration says under `options`, for algorithms; read-only.
        health: live figures; not part of what makes two downstreams equal.
    """

    name: str
    host: str
    port: int
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    health: Health = field(default_factory=Health, compare=False)


Figures = tuple[HealthState, int, int, int, int, float, float, Sequence[float], int]
"""What `Health` is made of, in its order; the last two are what `p95_s` is made of."""

_setters_of_health = tuple([vars(Health)[name].__set__ for name in Health.__slots__])


def _health(figures: Figures) -> Health:
    health = object.__new__(Health)
    timed: Timed = figures[-2:]
    for set_, figure in zip(_setters_of_health, (*figures[:-2], timed), strict=True):
        set_(health, figure)
    return health


class _Made:
    """An attribute that holds what it is made of, a tuple, until somebody first looks.

    Who is offered is another at every message, and most algorithms never look: both values together
    take 2.8 us to make, one with its figures 0.2. Of those that do, most do not ask for `p95_s`.
    """

    def __init__(self, slot: Any, make: Callable[[Any], object]) -> None:  # noqa: ANN401 - has no name
        self._slot = slot
        self._make = make

    def __get__(self, instance: object, owner: object = None) -> object:
        if instance is None:
            return self._slot
        value = self._slot.__get__(instance)
        if value.__class__ is tuple:
            value = self._make(value)
            self._slot.__set__(instance, value)
        return value

    def __set__(self, instance: object, given: object) -> None:
        self._slot.__set__(instance, given)


_Draft = draft_of(Downstream, health=vars(Downstream)["health"])

if not TYPE_CHECKING:
    Downstream.health = _Made(Downstream.health, _health)
    Health.p95_s = _Made(Health.p95_s, p95)


def with_figures(downstream: Downstream, figures: Figures) -> Downstream:
    """This downstream as it fares at another moment."""
    draft = _Draft()
    draft.name = downstream.name
    draft.host = downstream.host
    draft.port = downstream.port
    draft.options = downstream.options
    draft.health = figures  # see `_Made`
    draft.__class__ = Downstream
    seen: Downstream = draft
    return seen
