"""What a scripted downstream has seen. No I/O."""

import re
from dataclasses import dataclass

_POSITIVE = re.compile(rb"(?:2\d\d-[^\r\n]*\r\n)*2\d\d(?: [^\r\n]*)?\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One message that arrived whole, whatever was said to it.

    Args:
        mail_from: the sender; empty for the null reverse-path.
        rcpt_tos: the recipients that were not refused.
        mail_line: the MAIL command, with its parameters.
        rcpt_lines: the RCPT commands, likewise.
        content: exactly what came, without the stuffed dots, with the CRLF before the final one.
        reply: what was said to it, as octets; empty if nothing was.
        ehlo: the name the peer gave.
        login: whom it logged in as.
        tls: whether the connection was encrypted.
        connection: the number of the connection; the first one is 1.
        at: when it came, in seconds by `time.monotonic()`.
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    mail_line: str
    rcpt_lines: tuple[str, ...]
    content: bytes
    reply: bytes
    ehlo: str
    login: str | None
    tls: bool
    connection: int
    at: float

    @property
    def is_delivered(self) -> bool:
        """Whether a whole positive reply was said to it."""
        return is_positive(self.reply)

    @property
    def below_received(self) -> bytes:
        """The content without its first field, which is the `Received:` of who sent it here."""
        end = re.match(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", self.content, re.IGNORECASE)
        return self.content[end.end() :] if end else self.content


def is_positive(reply: bytes) -> bool:
    """Whether these octets begin with a whole 2yz reply."""
    return _POSITIVE.match(reply) is not None
