"""How much a downstream gets. `docs/limits.md` explains it."""

from collections.abc import Mapping
from functools import cached_property

from pydantic import Field

from smtp_router.config.model import Model
from smtp_router.config.types import Count, NonEmpty, Seconds
from smtp_router.core.periods import Kind


class Limits(Model):
    """How much a downstream gets; one that has got it is not offered to algorithms."""

    concurrency: Count | None = Field(
        default=None, description="Messages at the same time. Default: no limit, as of all below."
    )
    per_second: Count | None = Field(default=None, description="Messages within any second.")
    per_minute: Count | None = Field(default=None, description="Messages within any minute.")
    per_hour: Count | None = Field(default=None, description="Messages within any hour.")
    per_day: Count | None = Field(
        default=None, description="Messages per calendar day (UTC); counted in the state file."
    )
    per_month: Count | None = Field(
        default=None, description="Messages per calendar month (UTC); counted in the state file."
    )
    wait_s: Seconds | None = Field(
        default=None,
        description="How long a message waits for this downstream if no other is left. Default: not at "
        "all.",
    )
    counted_as: NonEmpty | None = Field(
        default=None,
        description="Downstreams with the same text here count together. Default: each for itself.",
    )

    @cached_property
    def windows(self) -> tuple[tuple[float, int], ...]:
        """Spans of seconds, and how many messages each has room for."""
        given = ((1.0, self.per_second), (60.0, self.per_minute), (3600.0, self.per_hour))
        return tuple((seconds, count) for seconds, count in given if count is not None)

    def name(self, email: str, downstream: str) -> str:
        """Under which name it is counted."""
        return self.counted_as or f"{email}/{downstream}"

    @cached_property
    def quotas(self) -> Mapping[Kind, int]:
        """How many messages each calendar period has room for."""
        given = {Kind.DAY: self.per_day, Kind.MONTH: self.per_month}
        return {kind: count for kind, count in given.items() if count is not None}


NO_LIMITS = Limits()
"""Of all downstreams that say nothing: there may be tens of thousands, and it takes 600 bytes."""
