"""An SMTP reply as a value that is always safe to send.

Whatever the text was made from (a downstream's words, a plugin's), a `Reply` holds printable ASCII on
one line, so no reply can split a line or put a control character on somebody's terminal.
"""

import re
from dataclasses import dataclass

from smtp_router.core.draft import draft_of

MAX_TEXT_OCTETS = 400
"""A reply line may have 512 octets with its code and CRLF (RFC 5321 4.5.3.1.5); this leaves room."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LINE_PREFIX = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|$)", re.ASCII)
_PLAIN = re.compile(
    r"250 (?=.{1,390}\r\n)(?:(2\.[0-9]{1,3}\.[0-9]{1,3}) )?"  # short enough for any reply
    r"(?![0-9]\.)([!-~]++(?: [!-~]++)*+)\r\n"  # what looks like one more enhanced code is not plain
)


def printable(text: str) -> str:
    """One line of printable ASCII, at most `MAX_TEXT_OCTETS`; what cannot be shown becomes `?`."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_TEXT_OCTETS and "  " not in text:
        return text.strip(" ")  # almost always: a quarter of the time it takes below
    return _UNPRINTABLE.sub("?", " ".join(text.split()))[:MAX_TEXT_OCTETS].rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one side of SMTP answers to the other.

    Args:
        code: three digits, 200 to 599.
        enhanced: an enhanced status code such as `"4.4.1"`, or `""` where there is none.
        text: free text; kept as printable ASCII, at most 400 octets.

    Raises:
        ValueError: a code out of range, or an enhanced code that is malformed or of another class.

    Source: RFC 5321 4.2, RFC 3463 2, RFC 2034 4.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        """Hold the promise of the module's first paragraph."""
        if not 200 <= self.code <= 599:  # noqa: PLR2004 - the range of RFC 5321 4.2
            message = f"a reply code is 200 to 599, not {self.code}"
            raise ValueError(message)
        if self.enhanced:
            match = _ENHANCED.fullmatch(self.enhanced)
            if match is None or int(match[1]) != self.code // 100:
                message = f"{self.enhanced!r} is no enhanced status code for {self.code}"
                raise ValueError(message)
        text = printable(self.text)
        if text is not self.text:
            object.__setattr__(self, "text", text)

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return self.code < 300  # noqa: PLR2004

    @property
    def is_transient(self) -> bool:
        """4yz: not now."""
        return 400 <= self.code < 500  # noqa: PLR2004

    @property
    def is_permanent(self) -> bool:
        """5yz: never."""
        return self.code >= 500  # noqa: PLR2004

    def __str__(self) -> str:
        """The reply as one line, without CRLF."""
        if self.enhanced and self.text:  # as nearly always
            return f"{self.code} {self.enhanced} {self.text}"
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))

    @classmethod
    def parse(cls, code: int, text: str) -> "Reply":
        """Read a downstream's reply.

        Args:
            code: its code.
            text: its text, lines separated by LF; an enhanced status code that every line repeats
                (RFC 2034 4) is taken off and kept once.

        Raises:
            ValueError: the code is not one that SMTP knows.
        """
        enhanced = ""
        lines = []
        for line in text.split("\n"):
            match = _LINE_PREFIX.match(line)
            if match and int(match[1][0]) == code // 100:
                enhanced = enhanced or match[1]
                lines.append(line[match.end() :])
            else:
                lines.append(line)
        return cls(code=code, enhanced=enhanced, text=" ".join(lines))


_Draft = draft_of(Reply)


def with_id(reply: Reply, id_: str) -> Reply:
    """This reply with the router's own id of a message behind its text: nothing is checked."""
    draft = _Draft()
    draft.code = reply.code
    draft.enhanced = reply.enhanced
    draft.text = f"{reply.text} as {id_}"
    draft.__class__ = Reply
    made: Reply = draft
    return made


def plain_reply(line: bytes) -> Reply | None:
    """Read a reply that is 250 and one line of plain words, as a delivery's nearly always is.

    It holds the promise as it stands, so nothing is checked again: a sixth of the time of `Reply.parse`,
    which reads it alike.

    Args:
        line: as it came over the wire, CRLF at its end.

    Returns:
        `None`: not such a line.
    """
    plain = _PLAIN.fullmatch(line.decode("latin-1"))
    if plain is None:
        return None
    draft = _Draft()
    draft.code = 250
    draft.enhanced, draft.text = plain.groups("")
    draft.__class__ = Reply
    made: Reply = draft
    return made
