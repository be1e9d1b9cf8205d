"""An SMTP reply as a value that is always safe to send.

Whatever the text was made from (a downstream's words, a plugin's), a `Reply` holds printable ASCII on
one line, so no reply can split a line or put a control character on somebody's terminal.
"""

import re
from dataclasses import dataclass

MAX_TEXT_OCTETS = 400
"""A reply line may have 512 octets with its code and CRLF (RFC 5321 4.5.3.1.5); this leaves room."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LINE_PREFIX = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|$)", re.ASCII)
_PLAIN = re.compile(
    rb"(2[0-9]{2}) (?:(2\.[0-9]{1,3}\.[0-9]{1,3}) )?"
    rb"(?![0-9]\.)([!-~]++(?: [!-~]++)*+)\r\n"  # what looks like one more enhanced code is not plain
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
        enhanced = f" {self.enhanced}" if self.enhanced else ""
        return f"{self.code}{enhanced} {self.text}" if self.text else f"{self.code}{enhanced}"

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


# What `object.__setattr__` calls in the end, which is a third of its time.
_set_code = vars(Reply)["code"].__set__
_set_enhanced = vars(Reply)["enhanced"].__set__
_set_text = vars(Reply)["text"].__set__


def with_words(reply: Reply, words: str) -> Reply:
    """This reply with more words behind its text; its codes are right already."""
    longer = object.__new__(Reply)
    _set_code(longer, reply.code)
    _set_enhanced(longer, reply.enhanced)
    _set_text(longer, printable(f"{reply.text} {words}"))
    return longer


def plain_reply(line: bytes) -> Reply | None:
    """Read a reply that is a single positive line of plain words, as a delivery's nearly always is.

    It holds the promise as it stands, so nothing is checked again: a fifth of the time of `Reply.parse`,
    which reads it alike.

    Args:
        line: as it came over the wire, CRLF at its end.

    Returns:
        `None`: not such a line.
    """
    plain = _PLAIN.fullmatch(line) if len(line) <= MAX_TEXT_OCTETS else None
    if plain is None:
        return None
    code, enhanced, text = plain.groups(b"")
    reply = object.__new__(Reply)
    _set_code(reply, int(code))
    _set_enhanced(reply, enhanced.decode())
    _set_text(reply, text.decode())
    return reply
