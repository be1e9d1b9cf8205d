"""Figures that vary: log-normal, as latencies and sizes are, given by two of their quantiles."""

import math
from functools import cached_property
from statistics import NormalDist
from typing import Annotated, Self

from pydantic import Field, model_validator

from smtp_router.config.durations import Duration
from smtp_router.config.model import Model

_P95 = NormalDist().inv_cdf(0.95)


class Spread(Model):
    """A figure that varies, or, where both quantiles are the same, one that does not."""

    p50: float
    p95: float

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """`80ms` for `{fixed: 80ms}`, and that for a spread of no width."""
        if isinstance(value, dict):
            if value.keys() != {"fixed"}:
                return value
            value = value["fixed"]
        return {"p50": value, "p95": value} if isinstance(value, str | int | float) else value

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.p95 < self.p50 or self.p50 == 0 < self.p95:
            message = "p95 must not be less than p50, and p50 not nothing where p95 is something"
            raise ValueError(message)
        return self

    @cached_property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return math.log(self.p95 / self.p50) / _P95 if self.p95 > self.p50 else 0.0

    def at(self, z: float) -> float:
        """The figure that is so many standard deviations above the median, in the logarithm."""
        return self.p50 * math.exp(self.sigma * z)


class Latency(Spread):
    """How long something takes."""

    p50: Duration = Field(description="One half takes less, one half more.")
    p95: Duration = Field(description="5 of 100 take more.")


Octets = Annotated[float, Field(ge=1, le=1024**3)]


class Size(Spread):
    """How big something is, in bytes."""

    p50: Octets = Field(description="One half is smaller, one half bigger.")
    p95: Octets = Field(description="5 of 100 are bigger.")
