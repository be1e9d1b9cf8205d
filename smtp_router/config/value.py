"""What the parts of the settings have in common: plain values that pydantic can read.

Only who reads a configuration needs pydantic, which takes 12 MiB; who goes by it does not. So nothing
here imports it: it asks for what it has to know by methods of its own names, and brings itself along.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from pydantic_core import CoreSchema

STRICT: Mapping[str, Any] = {
    "extra": "forbid",
    "hide_input_in_errors": True,
    "validate_default": True,
}
"""What is not known is an error, and no error shows what was given: that may come from `${env:…}`."""


def key(
    description: str,
    *,
    default: object = dataclasses.MISSING,
    default_factory: Callable[[], object] | None = None,
    spelled: str | None = None,
    repr: bool = True,  # noqa: A002 - as `dataclasses.field` has it
) -> Any:  # noqa: ANN401 - as `dataclasses.field` has it
    """A field that is a key of the configuration.

    Args:
        description: for the JSON Schema, which editors show.
        default: what counts without the key; none: it has to be there.
        default_factory: makes that.
        spelled: the key, if it is not the field's name.
        repr: whether the value is shown.
    """
    notes = {"description": description} | ({"alias": spelled} if spelled else {})
    if default_factory is not None:
        return dataclasses.field(default_factory=default_factory, repr=repr, metadata=notes)
    return dataclasses.field(default=default, repr=repr, metadata=notes)


class Value:
    """A part of the settings; each is a frozen dataclass."""

    __slots__ = ()

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    @classmethod
    def completed(cls, given: Any, info: "ValidationInfo[Any]") -> Any:  # noqa: ANN401 - not checked yet
        """What was given, with what its form leaves out.

        Raises:
            ValueError: it says itself what is wrong.
        """
        del info
        return given

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """The value itself, if its fields agree with each other and with what was given.

        Raises:
            ValueError: it says itself what is wrong.
        """
        del given, info
        return self

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """See pydantic."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        inner: Any = {**handler(source)}
        ref = inner.pop("ref", None)  # that finds the class again has to find all of this
        return core_schema.with_info_wrap_validator_function(cls._read, inner, ref=ref)

    @classmethod
    def _read(cls, given: Any, handler: Callable[[object], Self], info: "ValidationInfo[Any]") -> Self:  # noqa: ANN401 - not checked yet
        if isinstance(given, cls):
            return given
        given = cls.completed(given, info)
        return handler(given).checked(given, info)


class As:
    """In `Annotated`: how a value is read."""

    __slots__ = ("_beside", "_bounds", "_first", "_instead", "_schema", "_then")

    def __init__(
        self,
        *,
        first: Callable[[Any], object] | None = None,
        then: Callable[[Any], object] | None = None,
        beside: Callable[[Any, Mapping[str, Any]], object] | None = None,
        instead: Callable[[Any], object] | None = None,
        schema: Mapping[str, Any] | None = None,
        **bounds: float,
    ) -> None:
        """Say it.

        Args:
            first: what pydantic is to see of what was given.
            then: what becomes of what pydantic has made of it.
            beside: the same, which is shown the keys above this one, too.
            instead: what reads it in place of pydantic; all of these raise ValueErrors.
            schema: as JSON Schema has it, where that does not follow.
            **bounds: by pydantic's names, as in `gt=0` or `min_length=1`.
        """
        self._first = first
        self._then = then
        self._beside = beside
        self._instead = instead
        self._schema = schema
        self._bounds = bounds

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """See pydantic."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        if self._instead is not None:
            shown = core_schema.plain_serializer_function_ser_schema(_shown)
            return core_schema.no_info_plain_validator_function(self._instead, serialization=shown)
        schema: Any = {**handler(source), **self._bounds}
        if self._first is not None:
            schema = core_schema.no_info_before_validator_function(self._first, schema)
        if self._then is not None:
            schema = core_schema.no_info_after_validator_function(self._then, schema)
        if (beside := self._beside) is not None:
            schema = core_schema.with_info_after_validator_function(
                lambda value, info: beside(value, info.data), schema
            )
        return cast("CoreSchema", schema)

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> dict[str, Any]:
        """See pydantic."""
        return handler(schema) if self._schema is None else dict(self._schema)


def _shown(value: object) -> object:
    """As it stands in a configuration."""
    return value if isinstance(value, int) else str(value)
