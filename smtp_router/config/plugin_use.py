"""How a configuration names a plugin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from smtp_router.config.types import NO_OPTIONS, NonEmpty, Options
from smtp_router.config.value import STRICT, As, Value, key

if TYPE_CHECKING:
    from pydantic import ValidationInfo


def _offer_both_forms(schema: dict[str, Any]) -> None:
    long_form = {**schema}
    schema.clear()
    schema["anyOf"] = [{"type": "string", "minLength": 1}, long_form]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUse(Value):
    """A plugin by name or path, and what it is made with."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "json_schema_extra": _offer_both_forms,
    }

    use: NonEmpty = key("An entry point's name (round_robin), or a path (./my_algorithm.py).")
    options: Options = key(
        "What the plugin's constructor takes.", default_factory=lambda: NO_OPTIONS, repr=False
    )

    @classmethod
    def completed(cls, given: object, info: "ValidationInfo[Any]") -> object:
        """`round_robin` for `{use: round_robin}`."""
        del info
        return {"use": given} if isinstance(given, str) else given


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary(Value):
    """An algorithm that chooses for some of the messages, and how many these are."""

    use: NonEmpty = key("An entry point's name, or a path.")
    options: Options = key(
        "What the plugin's constructor takes.", default_factory=lambda: NO_OPTIONS, repr=False
    )
    percent: Annotated[float, As(gt=0, le=100)] = key(
        "For how many of 100 messages it is asked in place of the algorithm, by chance."
    )

    @property
    def plugin(self) -> PluginUse:
        """The algorithm."""
        return PluginUse(use=self.use, options=self.options)
