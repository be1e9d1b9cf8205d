"""The listening side's framing, without any I/O: octets in, events out.

    feed(octets) … next_event() → a command line | LINE_TOO_LONG | CONTENT | CHUNK | None

Three states: between commands, inside content (after `start_content`), and inside a chunk of counted
octets (after `start_chunk`); content and chunks go into a `Body` as they come. Only CRLF ends a line,
only CRLF.CRLF ends content (RFC 5321 2.3.8, 4.1.1.4); nothing is decoded, and nothing grows without
bound: a line that is too long is dropped as it arrives, and so is content above the body's limit.
"""

from enum import Enum
from typing import TypeAlias

from smtp_router.core.layout import laid_out
from smtp_router.smtp.body import Body

MAX_LINE_OCTETS = 12_288
"""The longest command line of all, with CRLF: an AUTH line (RFC 4954 4)."""

_DOT = ord(".")
_DOT_LINE = b"\r\n."
_END = b"\r\n.\r\n"
_END_OCTETS = len(_END)
_SMALL_OCTETS = 4096
"""Content above is looked at for single dots first: see `_first_dot_line`."""
_HELD = _END_OCTETS - 1
_BEGINNINGS = tuple(_END[:octets] for octets in range(_HELD, 0, -1))


class Mark(Enum):
    """What has ended, where it is not a line that is wanted."""

    LINE_TOO_LONG = "a line above the limit; its octets are gone"
    CONTENT = "content; the body has it"
    CHUNK = "a chunk; the body has it"


Event: TypeAlias = bytes | Mark
"""`bytes` is one command line, without its CRLF."""


def whole_content(octets: bytes) -> bytes | None:
    """All of the content, where it comes at once, and no line of it begins with a dot, as most does.

    Returns:
        What a `Wire` makes of it; `None`, if it takes one to know what these are.
    """
    if len(octets) <= _SMALL_OCTETS:  # the same in a single search: to find where to look takes longer
        content, _, rest = octets.partition(_DOT_LINE)
        return None if rest != b"\r\n" or octets[0] == _DOT else content + b"\r\n"
    if not octets.endswith(_END) or octets[0] == _DOT:
        return None
    end = len(octets) - _END_OCTETS
    if octets.find(_DOT_LINE, 0, octets.rfind(b".", 0, end) + 1) >= 0:
        return None  # it may have ended earlier
    return octets[: end + 2]


@laid_out
class Wire:
    """Cuts one connection's octets into events."""

    # Between commands, nothing received
    _data = b""
    _at = 0  # where the next event begins; what is before it is used up
    _scanned = 0  # up to where there is no line end
    _line_dropped = False
    _in_content = False
    _body: Body | None = None
    _held = b""
    _chunk_left: int | None = None

    @property
    def in_body(self) -> bool:
        """Whether what comes next is content, or a chunk of it."""
        return self._in_content or self._chunk_left is not None

    @property
    def is_clear(self) -> bool:
        """Whether the next octet begins a command."""
        return self._at == len(self._data) and not self._in_content and self._chunk_left is None

    @property
    def buffered(self) -> int:
        """How many octets wait to be cut."""
        return len(self._data) - self._at

    def feed(self, octets: bytes) -> None:
        """Take octets from the connection."""
        if self._at == len(self._data):
            self._data = octets
            self._scanned = 0
        else:
            self._data = self._data[self._at :] + octets
            self._scanned -= self._at
        self._at = 0

    def clear(self) -> None:
        """Forget what was received and not yet cut (RFC 3207 4.2)."""
        self._data = b""
        self._at = self._scanned = 0

    def start_content(self, body: Body) -> None:
        """The next octets are content."""
        self._in_content = True
        self._body = body
        self._held = b"\r\n"  # content starts at the start of a line

    def start_chunk(self, octets: int, body: Body | None) -> None:
        """The next octets are a chunk of this many (RFC 3030 2); without a body, they are dropped."""
        self._chunk_left = octets
        self._body = body

    def next_event(self) -> Event | None:
        """The next event, or `None` until more octets have come."""
        if self._in_content:
            return self._content()
        if self._chunk_left is not None:
            return self._chunk(self._chunk_left)
        return self._line()

    def _line(self) -> Event | None:
        data, start = self._data, self._at
        if start == len(data):
            self.clear()  # nothing is left; let go of it
            return None
        end = data.find(b"\r\n", self._scanned)
        if end < 0:
            # Keep a CR at the end: its LF may be on the way.
            self._scanned = max(len(data) - 1, start)
            if len(data) - start > MAX_LINE_OCTETS:
                self._at = self._scanned
                self._line_dropped = True
            return None
        self._at = self._scanned = end + 2
        if self._line_dropped or end + 2 - start > MAX_LINE_OCTETS:
            self._line_dropped = False
            return Mark.LINE_TOO_LONG
        return data[start:end]

    def _content(self) -> Mark | None:
        """Find the end; what may begin it at the end of a piece is held back, but for its CRLF.

        Most content has no line that begins with a dot, so one search serves for those and for the end.
        """
        assert self._body is not None
        if self._at == len(self._data):
            self.clear()
            return None
        held, data = self._held, self._data[self._at :]
        if held == b"\r\n" and not data.startswith(b"."):
            held = b""  # it begins nothing, and the piece need not be copied
        seen = held + data
        start = _passed_on(held)
        dot = _first_dot_line(seen)
        end = seen.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self._at = self._scanned = len(self._data) - (len(seen) - end - len(_END))
            self._body.add(seen[start : end + 2], dots=dot < end)
            self._body = None  # what is in memory of it is not ours any more
            self._in_content = False
            return Mark.CONTENT
        self.clear()
        self._held = held = next(filter(seen[-_HELD:].endswith, _BEGINNINGS), b"")
        piece = seen[start : len(seen) - len(held) + _passed_on(held)]
        if piece:
            self._body.add(piece, dots=dot >= 0)
        return None

    def _chunk(self, left: int) -> Mark | None:
        piece = self._data[self._at : self._at + left]
        self._at += len(piece)
        self._scanned = self._at
        if self._body is not None:
            self._body.add(piece)
        if len(piece) < left:
            self._chunk_left = left - len(piece)
            return None
        self._chunk_left = self._body = None
        return Mark.CHUNK


def _passed_on(held: bytes) -> int:
    """How many octets of what is held the body has already: its CRLF, which is content in any case."""
    return 2 if len(held) > 1 else 0


def _first_dot_line(octets: bytes) -> int:
    """Where the first CRLF with a dot behind it is; below 0 if there is none.

    Looking for one octet takes a sixtieth of the time that it takes to look for three, so these are
    looked for only as far as there are dots: base64, as most of what is large, has none.
    """
    end = len(octets) - len(_END)
    if not octets.endswith(_END):
        return octets.find(_DOT_LINE, 0, octets.rfind(b".") + 1)
    dot = octets.find(_DOT_LINE, 0, octets.rfind(b".", 0, end) + 1)
    return dot if dot >= 0 else end
