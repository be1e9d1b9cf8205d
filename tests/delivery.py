"""What a witness tells of a message that arrived."""

import re
from dataclasses import dataclass

_RECEIVED = re.compile(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message that arrived whole, byte for byte."""

    mail_line: bytes
    rcpt_lines: tuple[bytes, ...]
    mail_from: bytes
    rcpt_tos: tuple[bytes, ...]
    content: bytes  # dot-unstuffed, with the CRLF before the final dot
    wire: bytes  # the same before unstuffing
    ehlo: bytes
    login: bytes | None
    tls: bool
    connection: int  # the first connection to this witness is 1

    @property
    def body_below_received(self) -> bytes:
        """The content without its first header field, which must be a Received."""
        received = _RECEIVED.match(self.content)
        assert received, f"the first field is no Received: {self.content[:80]!r}"
        return self.content[received.end() :]
