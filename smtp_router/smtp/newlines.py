"""Line ends that only some servers take for line ends."""

_OTHERS = bytes(set(range(256)) - set(b"\r\n\0"))


class LineEnds:
    """Looks for a CR or LF that is not part of CRLF, or a NUL, in content that comes in pieces.

    A next hop that takes one for a line end, or drops NULs, can be made to see the end of content where
    there is none, and a second message behind it (RFC 5321 2.3.8; CVE-2023-51764 and its kin).
    """

    __slots__ = ("_after_cr", "_bare", "count")

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._after_cr = False
        self._bare = False
        self.count = 0
        """How many line ends there were, of whatever kind; at least, once there was a bare one."""

    @property
    def bare(self) -> bool:
        """Whether there was one, if the content ends here."""
        return self._bare or self._after_cr

    def feed(self, piece: bytes) -> None:
        """Look at the next piece.

        All is well if its CRs, LFs and NULs are twice as many as its CRLFs: two passes, against the four
        of counting each.
        """
        pairs = piece.count(b"\r\n")
        odd = len(piece.translate(None, _OTHERS)) - 2 * pairs
        self.count += pairs + odd
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):
                odd -= 1
            else:
                self._bare = True
        if piece.endswith(b"\r"):
            self._after_cr = True
            odd -= 1
        if odd:
            self._bare = True
