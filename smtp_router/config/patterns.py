"""Regular expressions whose matching takes a time that is linear in the text, whoever wrote them.

The standard library's expressions backtrack: `(a+)+$` on 40 letters holds the event loop for hours, and
the text of a reply is the downstream's to choose. These run on Rust's regex crate, a finite automaton
that pydantic-core has inside. In exchange they know neither look-around nor back-references.

The time is linear in the text, times the size of the expression with its repetitions written out, so
these are bounded as well.

pydantic-core takes 4 MiB, so it is imported for the first expression.
"""

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from smtp_router.config.value import As

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

MAX_CHARS = 500
MAX_REPEATS = 100
"""All counted repetitions of one expression, multiplied: `(a{2,5}b){10}` has 50."""

_REPEAT = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled expression; two with the same source are equal."""

    source: str
    _compiled: "SchemaValidator" = field(repr=False, compare=False)

    @classmethod
    def compile(cls, source: str) -> "Pattern":
        """Compile an expression, which does not see case unless it says `(?-i)`.

        Raises:
            ValueError: it is none, or too big; never with the source, which may come from `${env:…}`.
        """
        from pydantic_core import SchemaError, SchemaValidator, core_schema  # noqa: PLC0415 - see above

        if not source or len(source) > MAX_CHARS:
            message = f"must be a regular expression of 1 to {MAX_CHARS} characters"
            raise ValueError(message)
        if _repeats(source) > MAX_REPEATS:
            message = f"repeats too much: its counts, multiplied, may come to {MAX_REPEATS}"
            raise ValueError(message)
        schema = core_schema.str_schema(pattern=f"(?i){source}", regex_engine="rust-regex")
        try:
            return cls(source, SchemaValidator(schema))
        except SchemaError as error:
            raise ValueError(_explain(str(error))) from None

    def matches(self, text: str) -> bool:
        """Whether the expression occurs anywhere in the text."""
        return self._compiled.isinstance_python(text)

    def __str__(self) -> str:
        """The source."""
        return self.source


def _repeats(source: str) -> int:
    """What its counts come to, multiplied, wherever they stand."""
    return math.prod(max(1, int(most or least or 1)) for least, most in _REPEAT.findall(source))


def _explain(error: str) -> str:
    """What the compiler says, without the part that shows the source."""
    if "size limit" in error:
        return "is too big an expression: repeat less"
    _, found, last = error.rpartition("\nerror: ")
    what = f": {last.splitlines()[0]}" if found else ""
    return f"is no regular expression{what}"


def _pattern(value: object) -> Pattern:
    if isinstance(value, Pattern):
        return value
    if not isinstance(value, str):
        message = "must be a regular expression in quotes"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueErrors
    return Pattern.compile(value)


RegularExpression = Annotated[Pattern, As(instead=_pattern, schema={"type": "string", "minLength": 1})]
