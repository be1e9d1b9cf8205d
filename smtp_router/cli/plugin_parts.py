"""What `smtp-router new-plugin` knows of each hook: what a plugin that has it does, and needs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option that a generated plugin has.

    Args:
        name: its name.
        default: its default, as Markdown shows it.
        example: a value, as YAML has it.
        wrong: a value that is refused, as Python has it.
        meaning: what it says.
    """

    name: str
    default: str
    example: str
    wrong: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a generated plugin takes for one hook.

    Args:
        summary: what it does.
        names: what it uses of the public API.
        imports: what it uses of the standard library.
        kit: what its tests use of the kit, beyond what all do.
        option: its option, if it has one; `{header}` in it is a header field's name.
    """

    summary: str
    names: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    kit: tuple[str, ...] = ()
    option: Option | None = None


PARTS: Mapping[str, Part] = {
    "select_downstream": Part(
        summary="Mail goes to the downstream that is preferred, while it is there.",
        names=("Attempt", "Downstream", "Message", "note"),
        imports=("from collections.abc import Sequence",),
        kit=("make_attempt", "make_downstream", "make_message", "unreachable"),
        option=Option(
            name="prefer",
            default="the first one",
            example="spare",
            wrong="5",
            meaning="The name of the downstream that has the mail whenever it is there.",
        ),
    ),
    "before_send": Part(
        summary="A header field names the downstream.",
        names=("Downstream", "Message"),
        imports=("import re",),
        kit=("make_downstream", "make_message"),
        option=Option(
            name="header",
            default="`{header}`",
            example="{header}",
            wrong='"no field"',
            meaning="The header field that names the downstream.",
        ),
    ),
    "after_send": Part(
        summary="Attempts that take long are logged.",
        names=("Attempt", "Message"),
        imports=("import logging",),
        kit=("make_attempt", "make_message"),
        option=Option(
            name="slow_s",
            default="`10`",
            example="10",
            wrong="0",
            meaning="Attempts that take longer are logged, in seconds.",
        ),
    ),
    "check_downstreams": Part(
        summary="Too few downstreams are refused.",
        names=("Downstream",),
        imports=("from collections.abc import Sequence",),
        kit=("make_downstream",),
        option=Option(
            name="at_least",
            default="`1`",
            example="1",
            wrong="0.5",
            meaning="How many downstreams a user needs.",
        ),
    ),
    "close": Part(
        summary="How long it was in use is logged.",
        names=("Clock",),
        imports=("import logging",),
        kit=("VirtualClock",),
    ),
}
"""By hook."""
