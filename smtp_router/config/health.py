"""When a downstream is rested. `docs/health.md` explains it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from smtp_router.config.types import Count, Seconds, Share
from smtp_router.config.value import Value, key
from smtp_router.core.breaker import Rules

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_DEFAULT = Rules()


@dataclass(frozen=True, kw_only=True)
class Health(Value):
    """When a downstream is rested, and for how long."""

    failures: Count = key("It is rested after so many failures in a row.", default=_DEFAULT.failures)
    failure_rate: Share = key(
        "Or when such a share of the attempts within window_s failed, from 0 to 1.",
        default=_DEFAULT.failure_rate,
    )
    min_attempts: Count = key(
        "The share counts only of so many attempts or more.", default=_DEFAULT.min_attempts
    )
    window_s: Seconds = key("How far failure_rate looks back.", default=_DEFAULT.window_s)
    rest_s: Seconds = key(
        "How long the first rest is at most; each further one is twice as long.", default=_DEFAULT.rest_s
    )
    max_rest_s: Seconds = key("The longest rest.", default=_DEFAULT.max_rest_s)

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See `Value`."""
        del given, info
        if self.max_rest_s < self.rest_s:
            message = "max_rest_s is shorter than rest_s: give it the same or more"
            raise ValueError(message)
        return self

    @cached_property
    def rules(self) -> Rules:
        """The same in the router's own words."""
        return Rules(**asdict(self))
