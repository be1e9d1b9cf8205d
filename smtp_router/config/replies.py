"""A rule on replies, as the configuration and the providers' files write it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from smtp_router.config.model import Model
from smtp_router.config.patterns import RegularExpression
from smtp_router.config.types import Seconds
from smtp_router.core.outcome import SESSION_STAGES, Stage
from smtp_router.core.replies import ReplyClass, Rule

_RESTING = frozenset({"deferred", "quota", "auth"})


class ReplyRule(Model):
    """What a refusal is taken for that fits an expression."""

    match: RegularExpression = Field(
        description="A regular expression on the reply's line, as in '^452 4\\.2\\.2 .*quota'."
    )
    reply_class: Literal["deferred", "rejected", "quota", "auth", "ignore"] = Field(
        alias="class", description="What such a refusal is taken for."
    )
    stages: frozenset[Literal["connect", "tls", "ehlo", "auth", "mail", "rcpt", "data", "final"]] = (
        Field(default=frozenset(), description="Where it has to come. Default: anywhere.")
    )
    rest_s: Seconds | None = Field(
        default=None,
        description="For how long the downstream rests for this user, if the reply does not say.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
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
