"""How much a downstream gets. `docs/limits.md` explains it."""

from pydantic import Field

from smtp_router.config.model import Model
from smtp_router.config.types import Count, NonEmpty, Seconds


class Limits(Model):
    """How much a downstream gets; one that has got it is not offered to algorithms."""

    concurrency: Count | None = Field(
        default=None, description="Messages at the same time. Default: no limit, as of all below."
    )
    per_second: Count | None = Field(default=None, description="Messages within any second.")
    per_minute: Count | None = Field(default=None, description="Messages within any minute.")
    per_hour: Count | None = Field(default=None, description="Messages within any hour.")
    wait_s: Seconds | None = Field(
        default=None,
        description="How long a message waits for this downstream if no other is left. Default: not at "
        "all.",
    )
    counted_as: NonEmpty | None = Field(
        default=None,
        description="Downstreams with the same text here count together. Default: each for itself.",
    )

    @property
    def windows(self) -> tuple[tuple[float, int], ...]:
        """Spans of seconds, and how many messages each has room for."""
        given = ((1.0, self.per_second), (60.0, self.per_minute), (3600.0, self.per_hour))
        return tuple((seconds, count) for seconds, count in given if count is not None)
