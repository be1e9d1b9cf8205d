"""How a downstream behaves in a simulation."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from smtp_router.config.durations import Duration
from smtp_router.config.model import Model
from smtp_router.config.spread import Latency
from smtp_router.config.types import Count
from smtp_router.core.outcome import SESSION_STAGES, Stage
from smtp_router.core.reply import Reply

REFUSALS = range(400, 600)
SERVICE_CLOSING = 421

StageName = Literal["connect", "tls", "ehlo", "auth", "mail", "rcpt", "data", "final"]
Probability = Annotated[float, Field(ge=0, le=1)]


def _refusal(value: object) -> Reply:
    """Read a line such as `451 4.3.2 Not now`; the code alone will do, which YAML takes for a number."""
    code, _, text = str(value).partition(" ")
    try:
        reply = Reply.parse(int(code), text)
    except ValueError:
        reply = None
    if reply is None or reply.code not in REFUSALS:
        message = "must be a reply from 400 to 599, as in 451 4.3.2 Not now"
        raise ValueError(message)
    return reply


def _how(value: object) -> str | Reply:
    if value in ("refused", "timeout", "slow"):
        return str(value)
    try:
        return _refusal(value)
    except ValueError:
        message = "must be refused, timeout, slow, or a reply as in 451 4.3.2 Not now"
        raise ValueError(message) from None


_AS_TEXT = (PlainSerializer(str, return_type=str), WithJsonSchema({"type": ["string", "integer"]}))
Refusal = Annotated[Reply, PlainValidator(_refusal), *_AS_TEXT]
How = Annotated[Literal["refused", "timeout", "slow"] | Reply, PlainValidator(_how), *_AS_TEXT]


class Failure(Model):
    """Something that happens to some messages."""

    share: Probability = Field(description="To which part of them, from 0 to 1.")
    reply: Refusal | None = Field(default=None, description="What the downstream says then.")
    stage: StageName = Field(default="rcpt", description="... and where.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """`0.01` for `{share: 0.01}`."""
        return {"share": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _is_about_a_message(self) -> Self:
        if Stage(self.stage) in SESSION_STAGES:
            message = "stage: mail or later; an outage is what happens before that"
            raise ValueError(message)
        return self


_NEVER = Failure(share=0)


class Failures(Model):
    """What goes wrong now and then, when nothing is wrong in general."""

    deferred: Failure = Field(
        default=_NEVER, description="Refused for now. Default: with 451 4.7.1 Try again later."
    )
    rejected: Failure = Field(
        default=_NEVER, description="Refused for good. Default: with 550 5.1.1 No such mailbox."
    )
    in_doubt: Probability = Field(
        default=0, description="The part of which the reply to the final dot is lost."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, failure, kind in (("deferred", self.deferred, 4), ("rejected", self.rejected, 5)):
            if failure.reply is not None and failure.reply.code // 100 != kind:
                message = f"{name}: the reply must be a {kind}yz"
                raise ValueError(message)
        if self.deferred.share + self.rejected.share + self.in_doubt > 1:
            message = "come to more than 1 together"
            raise ValueError(message)
        return self


class Outage(Model):
    """A time in which something is wrong."""

    begin: Duration = Field(alias="from", description="Since when, from the beginning of the run.")
    end: Duration = Field(alias="to", description="Until when.")
    how: How = Field(
        default="refused",
        description="refused: nobody listens, and connections are lost; timeout: nothing is answered; "
        "slow; or what is replied, as in 421 4.3.2 Closing.",
    )
    stage: StageName | None = Field(
        default=None,
        description="Where, with timeout and replies. Default: connect; with replies but 421, mail.",
    )
    slower: Annotated[float, Field(gt=1, le=1_000_000)] = Field(
        default=10, description="With slow: so many times."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.end <= self.begin:
            message = "to must be later than from"
            raise ValueError(message)
        if self.stage is not None and self.how in ("refused", "slow"):
            message = f"stage: {self.how} has none, take it out"
            raise ValueError(message)
        if "slower" in self.model_fields_set and self.how != "slow":
            message = "slower: only with how: slow"
            raise ValueError(message)
        return self

    @property
    def at(self) -> Stage:
        """Where it shows."""
        if self.stage is not None:
            return Stage(self.stage)
        is_reply = isinstance(self.how, Reply) and self.how.code != SERVICE_CLOSING
        return Stage.MAIL if is_reply else Stage.CONNECT


class ServerLimits(Model):
    """What the downstream takes at most, whatever the router's own `limits` say."""

    connections: Count | None = Field(
        default=None, description="At the same time; one more hears 421. Default: no limit, as below."
    )
    per_second: Count | None = Field(default=None, description="Messages within any second.")
    per_minute: Count | None = Field(default=None, description="Messages within any minute.")
    per_hour: Count | None = Field(default=None, description="Messages within any hour.")
    reply: Refusal = Field(
        default=Reply(code=451, enhanced="4.7.1", text="Too many messages"),
        description="What is said to MAIL above that.",
    )

    @property
    def windows(self) -> tuple[tuple[float, int], ...]:
        """Spans of seconds, and how many messages each has room for."""
        given = ((1.0, self.per_second), (60.0, self.per_minute), (3600.0, self.per_hour))
        return tuple((seconds, count) for seconds, count in given if count is not None)


class Behaviour(Model):
    """How one downstream behaves."""

    latency: Latency = Field(
        default=Latency(p50=0.08, p95=0.3), description="From MAIL to the reply to the final dot."
    )
    connect: Latency = Field(
        default=Latency(p50=0.05, p95=0.15), description="Opening a connection, until MAIL can be said."
    )
    failure: Failures = Field(default=Failures(), description="What goes wrong now and then.")
    outages: tuple[Outage, ...] = Field(default=(), description="What goes wrong for some time.")
    limits: ServerLimits = Field(default=ServerLimits(), description="What it takes at most.")
    cost_per_1000: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=0, description="What 1000 delivered recipients cost, in whatever currency."
    )

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        in_order = sorted(self.outages, key=lambda outage: outage.begin)
        if any(earlier.end > later.begin for earlier, later in pairwise(in_order)):
            message = "outages: two of them overlap"
            raise ValueError(message)
        return self
