"""What is known of one provider, as its file says it; see `presets.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, model_validator

from smtp_router.config.model import Model
from smtp_router.config.pool import PoolLimits
from smtp_router.config.replies import ReplyRule
from smtp_router.config.types import Count, HostPort, NonEmpty
from smtp_router.config.value import key
from smtp_router.core.replies import Rule

T = TypeVar("T")

Limit = Literal["concurrency", "per_second", "per_minute", "per_hour", "per_day", "per_month"]
Port = Annotated[int, Field(gt=0, le=65535)]


class Source(Model):
    """Where a fact is from."""

    url: str = Field(pattern=r"^https://\S+$", description="The provider's own page.")
    seen: date = Field(description="The day on which somebody looked it up.")
    via: NonEmpty | None = Field(
        default=None, description="What was read, if it was a quotation and not the page itself."
    )


class Fact(Model, Generic[T]):
    """A value, and the name of its source."""

    value: T
    source: NonEmpty


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownReply(ReplyRule):
    """A rule on a reply that the provider documents."""

    example: NonEmpty = key("Such a reply, as the log shows it.")
    source: NonEmpty


class Provider(Model):
    """One provider's file."""

    name: NonEmpty = Field(description="The file's, without its suffix.")
    title: NonEmpty
    sources: Mapping[str, Source]
    hosts: Mapping[str, Fact[NonEmpty]] = Field(min_length=1, description="By region.")
    default_region: str | None = Field(
        default=None,
        description="Which of several hosts to take if nobody says; without it, one has to.",
    )
    ports: Mapping[Port, Fact[Literal["starttls", "implicit"]]] = Field(
        min_length=1, description="The TLS of each; the first is the one to take."
    )
    max_message_bytes: Fact[Count] | None = None
    max_recipients: Fact[Count] | None = None
    max_messages_per_connection: Fact[Count] | None = None
    limits: Mapping[Limit, Fact[Count]] = Field(
        default_factory=dict, description="Those of every account, beyond which the provider refuses."
    )
    replies: tuple[KnownReply, ...] = ()
    _rules: tuple[Rule, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Compile the rules, and see that the names of sources and regions lead somewhere."""
        loose = set(self._named_sources()) ^ set(self.sources)
        if loose:
            message = f"sources: given or named, but not both: {', '.join(sorted(loose))}"
            raise ValueError(message)
        if self.default_region is not None and self.default_region not in self.hosts:
            message = "default_region: is not among the hosts"
            raise ValueError(message)
        self._rules = tuple(reply.compiled(f"{self.name}: {reply.match}") for reply in self.replies)
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What its replies mean."""
        return self._rules

    @property
    def limit_defaults(self) -> dict[str, int]:
        """What `limits` of a downstream starts from, by the configuration's keys."""
        return {key: fact.value for key, fact in self.limits.items()}

    @property
    def pool_defaults(self) -> dict[str, int]:
        """What `pool` of a downstream starts from: the usual, or less where the provider wants less."""
        usual, wanted = PoolLimits(), {"max_messages_per_connection": self.max_messages_per_connection}
        wanted["max_connections"] = self.limits.get("concurrency")
        return {
            key: fact.value
            for key, fact in wanted.items()
            if fact is not None and fact.value < getattr(usual, key)
        }

    def addr(self, region: str | None) -> HostPort | None:
        """The address to take; `None` if there are several hosts, and nobody says which."""
        region = (
            region or self.default_region or (next(iter(self.hosts)) if len(self.hosts) == 1 else None)
        )
        if region is None:
            return None
        return HostPort(host=self.hosts[region].value, port=next(iter(self.ports)))

    def tls(self, addr: HostPort) -> str:
        """The TLS at an address; `auto` where it is none of the provider's."""
        known = addr.host in {host.value for host in self.hosts.values()} and addr.port in self.ports
        return self.ports[addr.port].value if known else "auto"

    def _named_sources(self) -> Iterator[str]:
        yield from (fact.source for fact in self.hosts.values())
        yield from (fact.source for fact in self.ports.values())
        yield from (fact.source for fact in self.limits.values())
        for fact in (self.max_message_bytes, self.max_recipients, self.max_messages_per_connection):
            if fact is not None:
                yield fact.source
        yield from (reply.source for reply in self.replies)
