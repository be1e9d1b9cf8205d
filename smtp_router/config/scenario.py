"""What a simulation assumes of the world: the mail that comes, and how downstreams behave.

`docs/simulate.md` explains every key. Downstreams are those of the configuration, by name; one that is
not named is healthy.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from smtp_router.config import tree
from smtp_router.config.behaviour import Behaviour
from smtp_router.config.explain import explain
from smtp_router.config.model import Model
from smtp_router.config.places import problem_at
from smtp_router.config.plugin_use import PluginUse
from smtp_router.config.reading import validated
from smtp_router.config.spread import Size
from smtp_router.config.types import Count, NonEmpty, Rate, RatePerTime
from smtp_router.core.address import is_ehlo_name
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.core.headers import format_field

Weight = Annotated[float, Field(gt=0, le=1e9)]
Domains = Annotated[Mapping[NonEmpty, Weight], Field(min_length=1)]


class Kind(Model):
    """One kind of mail."""

    share: Weight = Field(default=1, description="How much there is of it, beside the others.")
    sender_domains: Domains = Field(
        default={"app.example": 1},
        description="Domains in MAIL FROM and From, and how often each comes.",
    )
    recipient_domains: Domains = Field(
        default={"gmail.com": 5, "outlook.com": 3, "yahoo.com": 1, "example.org": 1},
        description="The same for RCPT TO.",
    )
    recipients: Count = Field(default=1, description="How many a message has.")
    bytes: Size = Field(default=Size(p50=20_000, p95=200_000), description="How big a message is.")
    headers: Mapping[NonEmpty, str] = Field(
        default_factory=dict, description="More header fields, as in {List-Unsubscribe: '<…>'}."
    )

    @field_validator("sender_domains", "recipient_domains")
    @classmethod
    def _are_domains(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for domain in value:
            if not is_ehlo_name(domain.encode()):
                message = f"{domain!r} is no domain, as in example.com"
                raise ValueError(message)
        return value

    @field_validator("headers")
    @classmethod
    def _are_fields(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            format_field(name, text)
        return value


class Scenario(Model):
    """The whole scenario file."""

    start: AwareDatetime | None = Field(
        default=None,
        description="What the calendar says at the beginning. Default: 2026-01-05T08:00:00Z, a Monday; "
        "or when the first recorded message came.",
    )
    rate: RatePerTime = Field(
        default=Rate(count=30, seconds=1), description="How many messages come, on average."
    )
    arrivals: Literal["poisson", "constant"] = Field(
        default="poisson", description="poisson: as if by chance; constant: one like the other."
    )
    mail: tuple[Kind, ...] = Field(
        default=(Kind(),), min_length=1, description="What kinds of mail come."
    )
    downstreams: Mapping[str, Behaviour] = Field(
        default_factory=dict, description="How each behaves, by its name in the configuration."
    )

    @field_validator("start")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        return value and value.astimezone(UTC)

    def behaviour(self, name: str) -> Behaviour:
        """How a downstream behaves."""
        return self.downstreams.get(name) or Behaviour()


def load(file: Path, names: Collection[str]) -> Scenario:
    """Read and check a scenario's file.

    Args:
        file: the file.
        names: the downstreams that there are.

    Raises:
        ConfigError: it cannot be read, or is no scenario; with every problem found.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(file=str(file), message=message)]) from None
    root = tree.parse(text, str(file))
    if root.value is None:
        return Scenario()
    try:
        scenario = Scenario.model_validate(root.plain())
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError(explain(file, root, detail, Scenario) for detail in details) from None
    problems = [
        problem_at(file, root, ("downstreams", name), message)
        for name, message in _strangers(scenario.downstreams, names)
    ]
    if problems:
        raise ConfigError(problems)
    return scenario


def plugin_use(text: str, source: str) -> PluginUse:
    """An algorithm as it would stand in the configuration: `weighted`, or `{use: …, options: {…}}`.

    Args:
        text: YAML.
        source: where it was given, for errors.

    Raises:
        ConfigError: it is none.
    """
    root = tree.parse(text.encode(), source)
    try:
        return validated(PluginUse, root.plain())
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems = [explain(Path(source), root, detail, PluginUse) for detail in details]
        raise ConfigError(problems) from None


def _strangers(given: Collection[str], names: Collection[str]) -> Iterator[tuple[str, str]]:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            yield name, f"is no downstream of the configuration: {hint}"
