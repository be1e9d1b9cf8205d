"""Content on its way in: kept in pieces, and looked at a piece at a time."""

from collections.abc import Callable

from smtp_router.core.content import Stuffed, canonical, dot_lines, double
from smtp_router.core.layout import laid_out
from smtp_router.smtp.newlines import LineEnds

LARGE_OCTETS = 32 * 1024
"""Smaller pieces are put together: a client may send an octet at a time."""


@laid_out
class Body:
    """Collects one message's content; what is too much is dropped as it comes.

    Args:
        max_octets: the most that is taken, each doubled dot counted once (RFC 1870 3).
        stuffed: whether dots are doubled, as they are behind DATA, and not behind BDAT.
        is_full: whether the router holds as much content as it may.
    """

    # How all content begins
    octets = 0
    """How many have come over the wire."""
    is_too_big = False
    """Whether there was more than the limit."""
    had_no_room = False
    """Whether it was dropped because the router was full."""
    has_bare_newlines = False
    """Whether there is a CR or LF that is not part of CRLF, or a NUL; known at the end."""
    _small: bytes | bytearray = b""
    _size = 0
    _before = b"\r\n"  # content starts at the start of a line
    _dot = b""
    _dots = False
    _line_ends: LineEnds | None = None

    def __init__(self, max_octets: int, *, stuffed: bool, is_full: Callable[[], bool]) -> None:
        """Nothing has come yet."""
        self._max = max_octets
        self._stuffed = stuffed
        self._is_full = is_full
        self._pieces: list[bytes] = []

    def add(self, octets: bytes, *, dots: bool = True) -> None:
        """Take the next octets of content.

        Args:
            octets: as they came.
            dots: whether there may be a dot at the start of a line in them.
        """
        size = len(octets)
        self.octets += size
        if size >= LARGE_OCTETS:
            self._flush()
            self._take(octets, dots=dots)
            return
        if dots:
            self._dots = True
        if not self._small:
            self._small = octets
        else:
            if isinstance(self._small, bytes):
                self._small = bytearray(self._small)
            self._small += octets
            if len(self._small) >= LARGE_OCTETS:
                self._flush()

    def end(self) -> None:
        """No more will come."""
        if self._small:
            self._flush(last=True)
        elif self._line_ends is not None:
            self._line_ends.feed(b"", last=True)
        if self._line_ends is not None:
            self.has_bare_newlines = self._line_ends.bare
        if self._before != b"\r\n" and self._pieces:  # the final dot needs a line of its own
            self._pieces.append(b"\r\n")
            self._size += 2

    @property
    def held_octets(self) -> int:
        """How many are in memory."""
        return 0 if self.had_no_room or self.is_too_big else self.octets

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """What has come, with dots doubled; nothing, if it was too much."""
        return tuple(self._pieces)

    @property
    def content(self) -> Stuffed:
        """The content as it can be passed on."""
        return Stuffed(self.pieces, self._size)

    def _flush(self, *, last: bool = False) -> None:
        if self._small:
            small, self._small = bytes(self._small), b""
            dots, self._dots = self._dots, False
            self._take(small, dots=dots, last=last)

    def _take(self, piece: bytes, *, dots: bool, last: bool = False) -> None:
        if not self._stuffed:
            piece = self._as_written(piece)
        elif dots or self._dot:
            piece = self._from_wire(piece)
        else:
            self._before = (self._before + piece[-2:])[-2:]
            self._size += len(piece)
        self.is_too_big = self._size > self._max
        self.had_no_room = self.had_no_room or self._is_full()
        if self.had_no_room or self.is_too_big:
            self._pieces.clear()
            return
        if self._line_ends is None:
            self._line_ends = LineEnds()
        self._line_ends.feed(piece, last=last)
        self._pieces.append(piece)

    def _from_wire(self, piece: bytes) -> bytes:
        """Count the dots that do not count, and see that there are two of each."""
        before, piece = self._before, self._dot + piece
        self._dot = b"." if piece.endswith(b".") and (before + piece).endswith(b"\r\n.") else b""
        if self._dot:  # what follows it decides
            piece = piece[:-1]
        self._before = (before + piece[-2:])[-2:]
        lines = dot_lines(before, piece)
        if lines and lines != dot_lines(before, piece, b".."):
            piece = canonical(before, piece)
            lines = dot_lines(before, piece)
        self._size += len(piece) - lines
        return piece

    def _as_written(self, piece: bytes) -> bytes:
        """Double the dots."""
        before, self._before = self._before, (self._before + piece[-2:])[-2:]
        self._size += len(piece)
        return double(before, piece) if dot_lines(before, piece) else piece
