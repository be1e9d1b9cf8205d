"""How connections to a downstream are kept. `docs/configuration.md` explains it."""

from dataclasses import dataclass

from smtp_router.config.types import Count, Seconds
from smtp_router.config.value import Value, key


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits(Value):
    """How connections to a downstream are kept, for those who share its address and login."""

    max_connections: Count = key(
        "Connections at the same time; more messages wait for one of these.", default=20
    )
    idle_s: Seconds = key("How long one is kept that nobody needs.", default=30)
    max_messages_per_connection: Count = key(
        "Messages over one connection; 1: a new one for each.", default=100
    )
    max_connection_age_s: Seconds = key("How old one may be when it is used again.", default=600)


USUAL_POOL = PoolLimits()
"""Of all downstreams that say nothing: there may be tens of thousands, and it takes 600 bytes."""
