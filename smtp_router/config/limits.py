"""How much a downstream gets. `docs/limits.md` explains it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from smtp_router.config.types import Count, NonEmpty, Seconds
from smtp_router.config.value import Value, key
from smtp_router.core.periods import Kind


@dataclass(frozen=True, kw_only=True)
class Limits(Value):
    """How much a downstream gets; one that has got it is not offered to algorithms."""

    concurrency: Count | None = key(
        "Messages at the same time. Default: no limit, as of all below.", default=None
    )
    per_second: Count | None = key("Messages within any second.", default=None)
    per_minute: Count | None = key("Messages within any minute.", default=None)
    per_hour: Count | None = key("Messages within any hour.", default=None)
    per_day: Count | None = key(
        "Messages per calendar day (UTC); counted in the state file.", default=None
    )
    per_month: Count | None = key(
        "Messages per calendar month (UTC); counted in the state file.", default=None
    )
    wait_s: Seconds | None = key(
        "How long a message waits for this downstream if no other is left. Default: not at all.",
        default=None,
    )
    counted_as: NonEmpty | None = key(
        "Downstreams with the same text here count together. Default: each for itself.", default=None
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
