"""A downstream's replies, read strictly and under bounds. No I/O.

Rules:
1. Only CRLF ends a line. Every line of a reply has the same code, from 200 to 599.
2. What is no reply comes out as one with code 0, and nothing is read behind it: where the next one would
   begin, nobody knows.
3. How the octets were cut into segments changes nothing.

Source: RFC 5321 4.2, 4.2.1.
"""

import re

WireReply = tuple[int, bytes]
"""A reply's code, and its text with lines separated by LF."""

MAX_LINE_OCTETS = 4096
"""With CRLF. A reply line has 512 octets at most (RFC 5321 4.5.3.1.5), and some are longer."""
MAX_LINES = 100
"""Lines of one reply; those to EHLO have about twenty."""

NO_REPLY = 0
_SHOWN_OCTETS = 200
_PLAIN = re.compile(rb"[2-5][0-9][0-9] [ -\xff]*+\r\n")  # one range: in half of the time of all but two
_LINES = re.compile(rb"([2-5][0-9]{2})(?:-[^\r\n]*+\r\n\1){1,%d}+ [^\r\n]*+\r\n" % (MAX_LINES - 1))


def text_of(octets: bytes) -> str:
    """A reply's text as `Reply.parse` takes it; what is no UTF-8 becomes unprintable."""
    return octets.decode("utf-8", "surrogateescape")


class ReplyReader:
    """Octets in, replies out."""

    __slots__ = ("_code", "_is_broken", "_lines", "_rest", "is_partial")

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._rest = b""
        self._code = b""
        self._lines: list[bytes] = []
        self._is_broken = False
        self.is_partial = False
        """Whether something is left that is no whole reply, or never will be one."""

    def feed(self, octets: bytes) -> list[WireReply]:
        """Take what has come; the replies that are complete by now."""
        if self._is_broken:
            return []
        if not self.is_partial and len(octets) <= MAX_LINE_OCTETS:
            plain = _PLAIN.findall(octets)
            if sum(map(len, plain)) == len(octets):  # as nearly always: the rules below, in one step
                return [(int(line[:3]), line[4:-2]) for line in plain]
            if _LINES.fullmatch(octets):  # an offer (EHLO), in a third of the time of line by line
                code, text = octets[:3], octets[4:-2]
                text = text.replace(b"\r\n%b-" % code, b"\n").replace(b"\r\n%b " % code, b"\n")
                return [(int(code), text)]
        replies = self._read(self._rest + octets)
        self.is_partial = bool(self._rest or self._lines or self._is_broken)
        return replies

    def _read(self, octets: bytes) -> list[WireReply]:
        replies: list[WireReply] = []
        start = 0
        while end := octets.find(b"\n", start) + 1:
            reply = self._line(octets[start:end])
            if reply is not None:
                replies.append(reply)
                if reply[0] == NO_REPLY:
                    return replies
            start = end
        self._rest = octets[start:]
        if len(self._rest) > MAX_LINE_OCTETS:
            replies.append(self._broken(self._rest))
        return replies

    def _line(self, line: bytes) -> WireReply | None:
        """Take a line with the LF at its end; the reply, if it is the last line of one."""
        code, mark = line[:3], line[3:4]
        if (
            len(line) > MAX_LINE_OCTETS
            or line.find(b"\r") != len(line) - 2
            or not (code.isdigit() and b"200" <= code <= b"599")
            or mark not in b" -\r"
            or (self._lines and (code != self._code or len(self._lines) == MAX_LINES))
        ):
            return self._broken(line)
        if mark == b"-":
            self._code = code
            self._lines.append(line[4:-2])
            return None
        text = line[4:-2]
        if self._lines:
            text = b"\n".join((*self._lines, text))
            self._lines = []
        return int(code), text

    def _broken(self, line: bytes) -> WireReply:
        self._is_broken = True
        self._rest, self._lines = b"", []
        return NO_REPLY, line[:_SHOWN_OCTETS]
