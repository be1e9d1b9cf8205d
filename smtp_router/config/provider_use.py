"""A downstream that names its provider, and what it need not say then."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from smtp_router.config.model import Model
from smtp_router.config.presets import Presets, unknown
from smtp_router.config.types import HostPort, NonEmpty, host_port

_NOWHERE = HostPort(host="provider.invalid", port=1)


class ProviderUse(Model):
    """A provider by name, and where it is used."""

    use: NonEmpty = Field(description="The provider's name (sendgrid); docs/providers.md lists them.")
    region: NonEmpty | None = Field(
        default=None, description="Which of its hosts, for a provider that has several."
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Both forms, with all names, for editors."""
        names = {"type": "string", "enum": list(Presets().names)}
        long_form = handler.resolve_ref_schema(handler(schema))
        long_form["properties"]["use"] |= names
        del long_form["properties"]["use"]["minLength"]
        return {"anyOf": [names, long_form]}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """`sendgrid` for `{use: sendgrid}`."""
        return {"use": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exists(self, info: ValidationInfo) -> Self:
        provider = Presets.of(info).get(self.use)
        if self.region is not None and self.region not in provider.hosts:
            raise ValueError(unknown("region", self.region, tuple(provider.hosts)))
        return self


def fill_in(given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """A downstream's keys with what its provider's file says, wherever they say nothing.

    Args:
        given: the keys as they stand in the configuration, `provider` among them.
        info: pydantic's, for the files that go with this validation.

    Raises:
        ValueError: it does not follow where the downstream is.
    """
    try:
        use = ProviderUse.model_validate(given["provider"], context=info.context)
    except ValidationError:  # which the key itself reports; nothing else is to complain
        return {"addr": _NOWHERE, **given}
    provider = Presets.of(info).get(use.use)
    if "addr" not in given:
        addr = provider.addr(use.region)
        if addr is None:
            message = f"provider: name a region ({', '.join(provider.hosts)}), or give an addr"
            raise ValueError(message)
        given = {"name": use.use, **given, "addr": addr}
    elif use.region is not None:
        message = "addr and the provider's region both say where: keep one of the two"
        raise ValueError(message)
    with suppress(ValueError):  # which addr reports
        given = {"tls": provider.tls(host_port(given["addr"])), **given}
    return _with(_with(given, "limits", provider.limit_defaults), "pool", provider.pool_defaults)


def _with(given: dict[str, Any], key: str, defaults: Mapping[str, int]) -> dict[str, Any]:
    """The keys, with defaults for those below one of them."""
    own = given.get(key, {})
    if not defaults or not isinstance(own, dict):  # which the key itself reports
        return given
    return {**given, key: {**defaults, **own}}
