"""How connections to a downstream are kept. `docs/configuration.md` explains it."""

from pydantic import Field

from smtp_router.config.model import Model
from smtp_router.config.types import Count, Seconds


class PoolLimits(Model):
    """How connections to a downstream are kept, for those who share its address and login."""

    max_connections: Count = Field(
        default=20, description="Connections at the same time; more messages wait for one of these."
    )
    idle_s: Seconds = Field(default=30, description="How long one is kept that nobody needs.")
    max_messages_per_connection: Count = Field(
        default=100, description="Messages over one connection; 1: a new one for each."
    )
    max_connection_age_s: Seconds = Field(
        default=600, description="How old one may be when it is used again."
    )


USUAL_POOL = PoolLimits()
"""Of all downstreams that say nothing: there may be tens of thousands, and it takes 600 bytes."""
