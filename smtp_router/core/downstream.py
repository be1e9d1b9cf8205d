"""A downstream as a plugin sees it: who it is and how it fares, never its credentials."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A downstream's live figures, frozen at the moment the plugin is asked.

    They count since the router started, or since the downstream's settings last changed.

    Args:
        in_flight: attempts under way now.
        delivered: attempts that ended in a delivery.
        failed: attempts that ended otherwise for a reason that is not the message's own: deferred or
            in doubt.
        consecutive_failures: how many of those have come since the last delivery.
    """

    in_flight: int = 0
    delivered: int = 0
    failed: int = 0
    consecutive_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Downstream:
    """A server that mail can be handed to.

    Args:
        name: unique among the user's downstreams.
        host: name or address, without brackets.
        port: TCP port.
        options: what the configuration says under `options`, for algorithms; read-only.
        health: live figures; not part of what makes two downstreams equal.
    """

    name: str
    host: str
    port: int
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    health: Health = field(default_factory=Health, compare=False)
