"""How a configuration names a plugin."""

from typing import Annotated

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from smtp_router.config.model import Model
from smtp_router.config.types import NO_OPTIONS, NonEmpty, Options


class PluginUse(Model):
    """A plugin by name or path, and what it is made with."""

    use: NonEmpty = Field(
        description="An entry point's name (round_robin), or a path (./my_algorithm.py)."
    )
    options: Options = Field(
        default_factory=lambda: NO_OPTIONS,
        repr=False,
        description="What the plugin's constructor takes.",
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Both forms, for editors."""
        return {
            "anyOf": [{"type": "string", "minLength": 1}, handler.resolve_ref_schema(handler(schema))]
        }

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """`round_robin` for `{use: round_robin}`."""
        return {"use": value} if isinstance(value, str) else value


class Canary(Model):
    """An algorithm that chooses for some of the messages, and how many these are."""

    use: NonEmpty = Field(description="An entry point's name, or a path.")
    options: Options = Field(
        default_factory=lambda: NO_OPTIONS,
        repr=False,
        description="What the plugin's constructor takes.",
    )
    percent: Annotated[float, Field(gt=0, le=100)] = Field(
        description="For how many of 100 messages it is asked in place of the algorithm, by chance."
    )

    @property
    def plugin(self) -> PluginUse:
        """The algorithm."""
        return PluginUse(use=self.use, options=self.options)
