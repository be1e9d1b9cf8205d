"""The listening side's framing, without any I/O: octets in, events out.

    feed(octets) … next_event() → CommandLine | LineTooLong | Content | ContentTooBig | Chunk | None

Three states: between commands, inside content (after `start_content`), and inside a chunk of counted
octets (after `start_chunk`). Only CRLF ends a line, only
CRLF.CRLF ends content (RFC 5321 2.3.8, 4.1.1.4); nothing is decoded, and nothing grows without bound:
a line that is too long is dropped as it arrives, and so is content above the limit.
"""

from dataclasses import dataclass

MAX_LINE_OCTETS = 12_288
"""The longest command line of all, with CRLF: an AUTH line (RFC 4954 4)."""

_END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One command, without its CRLF."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class LineTooLong:
    """A line above the limit has ended; its octets are gone."""


@dataclass(frozen=True, slots=True)
class Content:
    """Content as it came over the wire: dots still stuffed, CRLF at its end, without the final dot."""

    wire: bytes


@dataclass(frozen=True, slots=True)
class ContentTooBig:
    """Content above the limit has ended; its octets are gone."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk has ended.

    Args:
        octets: all of it; empty if it was not to be kept.
    """

    octets: bytes


Event = CommandLine | LineTooLong | Content | ContentTooBig | Chunk


class Wire:
    """Cuts one connection's octets into events."""

    def __init__(self) -> None:
        """Between commands, nothing received."""
        self._buffer = bytearray()
        self._scanned = 0
        self._line_dropped = False
        self._max_content: int | None = None
        self._chunks: list[bytes] = []
        self._content_octets = 0
        self._tail = b""
        self._chunk_left: int | None = None
        self._keep_chunk = False

    @property
    def in_content(self) -> bool:
        """Whether what comes next is content."""
        return self._max_content is not None

    @property
    def buffered(self) -> int:
        """How many octets wait to be cut."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> None:
        """Take octets from the connection."""
        self._buffer += octets

    def clear(self) -> None:
        """Forget what was received and not yet cut (RFC 3207 4.2)."""
        self._buffer.clear()
        self._scanned = 0

    def start_content(self, max_octets: int) -> None:
        """The next octets are content, of this size at most, doubled dots counted once (RFC 1870 3)."""
        self._max_content = max_octets
        self._chunks = []
        self._content_octets = 0
        self._tail = b"\r\n"  # content starts at the start of a line

    def start_chunk(self, octets: int, *, keep: bool) -> None:
        """The next octets are a chunk of this many (RFC 3030 2); if not to be kept, they are dropped."""
        self._chunk_left = octets
        self._keep_chunk = keep
        self._chunks = []

    def next_event(self) -> Event | None:
        """The next event, or `None` until more octets have come."""
        if self._chunk_left is not None:
            return self._chunk(self._chunk_left)
        return self._content() if self.in_content else self._line()

    def _line(self) -> CommandLine | LineTooLong | None:
        end = self._buffer.find(b"\r\n", self._scanned)
        if end < 0:
            # Keep a CR at the end: its LF may be on the way.
            self._scanned = max(len(self._buffer) - 1, 0)
            if len(self._buffer) > MAX_LINE_OCTETS:
                del self._buffer[: self._scanned]
                self._scanned = 0
                self._line_dropped = True
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._scanned = 0
        if self._line_dropped or end + 2 > MAX_LINE_OCTETS:
            self._line_dropped = False
            return LineTooLong()
        return CommandLine(line)

    def _content(self) -> Content | ContentTooBig | None:
        assert self._max_content is not None
        fresh = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        seen = self._tail + fresh
        end = seen.find(_END)
        if end < 0:
            self._tail = seen[-(len(_END) - 1) :]
            self._keep(fresh)
            return None
        taken = end + 2 - len(self._tail)  # of `fresh`, up to the CRLF before the dot
        self._buffer += seen[end + len(_END) :]
        if taken >= 0:
            self._keep(fresh[:taken])
            body = b"".join(self._chunks)
        else:  # that CRLF (and maybe the dot) came with an earlier piece
            body = b"".join(self._chunks)[:taken]
            self._content_octets += taken
        too_big = self._content_octets > self._max_content and not self._fits(body)
        self._max_content = None
        self._chunks = []
        return ContentTooBig() if too_big else Content(body)

    def _chunk(self, left: int) -> Chunk | None:
        piece = bytes(self._buffer[:left])
        del self._buffer[:left]
        self._scanned = 0
        if self._keep_chunk:
            self._chunks.append(piece)
        if len(piece) < left:
            self._chunk_left = left - len(piece)
            return None
        self._chunk_left = None
        octets = b"".join(self._chunks)
        self._chunks = []
        return Chunk(octets)

    def _fits(self, body: bytes) -> bool:
        """Whether content whose octets on the wire are too many is within the limit all the same."""
        assert self._max_content is not None
        doubled = body.count(b"\r\n.") + body.startswith(b".")
        return len(body) == self._content_octets and len(body) - doubled <= self._max_content

    def _keep(self, chunk: bytes) -> None:
        assert self._max_content is not None
        self._content_octets += len(chunk)
        # At worst every line is a doubled dot, four octets for three; and the end may come in pieces.
        if self._content_octets > self._max_content * 4 // 3 + len(_END):
            self._chunks.clear()
        elif chunk:
            self._chunks.append(chunk)
