"""Line ends that only some servers take for line ends."""

from io import IncrementalNewlineDecoder

_CLEAN = (None, "\r\n")


class WholeLineEnds:
    """Looks for the same as `LineEnds` in content that comes whole: with one decoder for all of it."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._decoder = IncrementalNewlineDecoder(None, translate=False)

    def has_bare(self, content: bytes) -> bool:
        """Whether there is a CR or LF that is not part of CRLF, or a NUL."""
        text = content.decode("latin-1")  # a character for each octet, and looking for one takes a sixth
        decoder = self._decoder
        decoder.decode(text, True)  # noqa: FBT003 - it is the last piece
        if decoder.newlines in _CLEAN and "\0" not in text:
            return False
        decoder.reset()  # else it would go on telling what it has seen here
        return True


class LineEnds:
    """Looks for a CR or LF that is not part of CRLF, or a NUL, in content that comes in pieces.

    A next hop that takes one for a line end, or drops NULs, can be made to see the end of content where
    there is none, and a second message behind it (RFC 5321 2.3.8; CVE-2023-51764 and its kin).

    The standard library's decoder of line ends notes which kinds of them it sees, in one pass that costs
    0.4 µs per KB whatever the content; counting CRs, LFs and CRLFs takes three times as much.
    """

    __slots__ = ("_decoder", "_has_nul")

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._decoder = IncrementalNewlineDecoder(None, translate=False)
        self._has_nul = False

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        """Look at the next piece; a CR at its end waits for what follows, but for the last one's."""
        text = piece.decode("latin-1")
        self._decoder.decode(text, last)
        self._has_nul = self._has_nul or "\0" in text

    @property
    def bare(self) -> bool:
        """Whether there was one, when the last piece is looked at."""
        return self._has_nul or self._decoder.newlines not in _CLEAN
