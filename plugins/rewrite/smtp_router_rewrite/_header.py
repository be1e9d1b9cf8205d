"""A message's header as a list of fields in the octets they came in, and what can be done to it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from smtp_router import Message

_END = re.compile(rb"(?:\A|(?<=\n))\r?\n")
_FIELD = re.compile(rb"[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")
_NAMED = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")


@dataclass(slots=True)
class Header:
    """The fields of a header, each with its continuation lines and its line end.

    Args:
        fields: joined, and with `rest` behind them, they are the content.
        rest: the empty line and the body.
    """

    fields: list[bytes]
    rest: bytes

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The header of this content."""
        end = _END.search(content)
        at = end.start() if end else len(content)
        return cls([field for field in _FIELD.findall(content[:at]) if field], content[at:])

    def content(self) -> bytes:
        """Header and body."""
        return b"".join((*self.fields, self.rest))

    def values(self, name: str) -> list[bytes]:
        """All fields of this name: what stands behind the colon, line end and all."""
        return [field.partition(b":")[2] for field in self.fields if name_of(field) == name.lower()]

    def remove(self, name: str) -> None:
        """Take all fields of this name out."""
        self.fields = [field for field in self.fields if name_of(field) != name.lower()]

    def set(self, name: str, *fields: bytes) -> None:
        """Put these in the place of the first field of this name, or on top; the others go."""
        at = next((i for i, field in enumerate(self.fields) if name_of(field) == name.lower()), 0)
        self.remove(name)
        self.fields[at:at] = fields


def name_of(field: bytes) -> str:
    """A field's name in lower case; `""` for a line that is none."""
    match = _NAMED.match(field)
    return match[1].decode("ascii").lower() if match else ""


def make_field(name: str, value: str) -> bytes:
    """A new field, folded and encoded as the router does it.

    Raises:
        ValueError: no field name, or a control character in the value.
    """
    empty = Message(
        id="",
        user="",
        mail_from="",
        rcpt_tos=(),
        content=b"",
        received_at=datetime.fromtimestamp(0, UTC),
    )
    return empty.with_header(name, value).content
