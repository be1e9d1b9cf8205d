"""A rule on replies, as the configuration and the providers' files write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from smtp_router.config.patterns import RegularExpression
from smtp_router.config.types import Seconds
from smtp_router.config.value import Value, key
from smtp_router.core.outcome import SESSION_STAGES, Stage
from smtp_router.core.replies import ReplyClass, Rule

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_RESTING = frozenset({"deferred", "quota", "auth"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRule(Value):
    """What a refusal is taken for that fits an expression."""

    match: RegularExpression = key(
        "A regular expression on the reply's line, as in '^452 4\\.2\\.2 .*quota'."
    )
    reply_class: Literal["deferred", "rejected", "quota", "auth", "ignore"] = key(
        "What such a refusal is taken for.", spelled="class"
    )
    stages: frozenset[Literal["connect", "tls", "ehlo", "auth", "mail", "rcpt", "data", "final"]] = key(
        "Where it has to come. Default: anywhere.", default=frozenset()
    )
    rest_s: Seconds | None = key(
        "For how long the downstream rests for this user, if the reply does not say.", default=None
    )

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See `Value`."""
        del given, info
        if self.rest_s is not None and self.reply_class not in _RESTING:
            message = f"rest_s does nothing for the class {self.reply_class}: take it out"
            raise ValueError(message)
        if self.reply_class == "rejected" and self.stages and self._where() <= SESSION_STAGES:
            message = "stages: before mail there is no message that could be rejected"
            raise ValueError(message)
        return self

    def compiled(self, name: str) -> Rule:
        """The rule as the core takes it.

        Args:
            name: what the log calls it.
        """
        return Rule(
            name=name,
            pattern=self.match,
            reply_class=ReplyClass(self.reply_class),
            stages=self._where() or frozenset(Stage),
            rest_s=self.rest_s,
        )

    def _where(self) -> frozenset[Stage]:
        return frozenset(map(Stage, self.stages))
