"""A value that must not be seen: it prints as `***` wherever it is printed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Secret:
    """A password or token; `reveal` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        """`***`, of any length."""
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """By text, so that a reload sees whether a password has changed."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """By text."""
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Read from a non-empty string."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see `smtp_router.config.value`

        del source, handler
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1, strict=True)
        )

    def __reduce__(self) -> Any:  # noqa: ANN401 - as object says it
        """Secrets do not travel."""
        message = "a secret cannot be pickled"
        raise TypeError(message)
