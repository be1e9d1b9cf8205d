"""A downstream that names its provider, and what it need not say then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from smtp_router.config.types import NonEmpty
from smtp_router.config.value import STRICT, Value, key

if TYPE_CHECKING:
    from pydantic import ValidationInfo


def _offer_names(schema: dict[str, Any]) -> None:
    """Both forms, with all names, for editors."""
    from smtp_router.config.presets import Presets  # noqa: PLC0415 - for the schema alone

    long_form = {**schema}
    schema.clear()
    names = {"type": "string", "enum": list(Presets().names)}
    long_form["properties"]["use"] |= names
    del long_form["properties"]["use"]["minLength"]
    schema["anyOf"] = [names, long_form]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUse(Value):
    """A provider by name, and where it is used."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "json_schema_extra": _offer_names,
    }

    use: NonEmpty = key("The provider's name (sendgrid); docs/providers.md lists them.")
    region: NonEmpty | None = key("Which of its hosts, for a provider that has several.", default=None)

    @classmethod
    def completed(cls, given: object, info: "ValidationInfo[Any]") -> object:
        """`sendgrid` for `{use: sendgrid}`."""
        del info
        return {"use": given} if isinstance(given, str) else given

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See that it is known here."""
        del given
        info.context.check(self)
        return self
