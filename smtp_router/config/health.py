"""When a downstream is rested. `docs/health.md` explains it."""

from functools import cached_property
from typing import Self

from pydantic import Field, model_validator

from smtp_router.config.model import Model
from smtp_router.config.types import Count, Seconds, Share
from smtp_router.core.breaker import Rules

_DEFAULT = Rules()


class Health(Model):
    """When a downstream is rested, and for how long."""

    failures: Count = Field(
        default=_DEFAULT.failures, description="It is rested after so many failures in a row."
    )
    failure_rate: Share = Field(
        default=_DEFAULT.failure_rate,
        description="Or when such a share of the attempts within window_s failed, from 0 to 1.",
    )
    min_attempts: Count = Field(
        default=_DEFAULT.min_attempts, description="The share counts only of so many attempts or more."
    )
    window_s: Seconds = Field(default=_DEFAULT.window_s, description="How far failure_rate looks back.")
    rest_s: Seconds = Field(
        default=_DEFAULT.rest_s,
        description="How long the first rest is at most; each further one is twice as long.",
    )
    max_rest_s: Seconds = Field(default=_DEFAULT.max_rest_s, description="The longest rest.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_rest_s < self.rest_s:
            message = "max_rest_s is shorter than rest_s: give it the same or more"
            raise ValueError(message)
        return self

    @cached_property
    def rules(self) -> Rules:
        """The same in the router's own words."""
        return Rules(**self.model_dump())
