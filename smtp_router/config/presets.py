"""What is known of the providers that mail is handed to: a file for each, and a source for each fact.

The files are in `providers/`; docs/providers.md prints them, and says how to add one.
"""

import difflib
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from smtp_router.config import tree
from smtp_router.config.model import Model
from smtp_router.config.pool import PoolLimits
from smtp_router.config.replies import ReplyRule
from smtp_router.config.types import Count, HostPort, NonEmpty
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


class KnownReply(ReplyRule):
    """A rule on a reply that the provider documents."""

    example: NonEmpty = Field(description="Such a reply, as the log shows it.")
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


class Presets:
    """The providers' files, each read once, when it is first asked for.

    One of these goes with the loading of one configuration, as pydantic's context.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._folder = files("smtp_router.config") / "providers"
        self._known: dict[str, Provider] = {}

    @classmethod
    def of(cls, info: ValidationInfo) -> "Presets":
        """Those that go with a validation."""
        return info.context if isinstance(info.context, cls) else cls()

    @property
    def names(self) -> tuple[str, ...]:
        """All there are."""
        found = (entry.name for entry in self._folder.iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))

    def get(self, name: str) -> Provider:
        """One of them.

        Raises:
            ValueError: there is none of this name; the error names the nearest.
        """
        if name not in self._known:
            if name not in self.names:
                raise ValueError(unknown("provider", name, self.names))
            text = (self._folder / f"{name}.yaml").read_bytes()
            plain = tree.parse(text, f"{name}.yaml").plain()
            assert isinstance(plain, dict)
            self._known[name] = Provider.model_validate({**plain, "name": name})
        return self._known[name]


def unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """An error's words, with the nearest of those that there are."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is no {what} that is known here: {hint}"
