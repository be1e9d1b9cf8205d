"""The hash of a body in relaxed canonical form (RFC 6376 3.4.4), made in pieces.

dkimpy canonicalizes a body as a whole, by regular expressions that keep the interpreter's lock until
they are done: of 30 MB, for seconds, in which no other thread runs either. Here the lock is free between
the pieces, so a thread that hashes leaves the event loop alone.
"""

import hashlib
from collections.abc import Iterator

PIECE_OCTETS = 64 * 1024
"""A piece ends with the first line that ends behind this."""


def body_hash(content: bytes, start: int) -> bytes:
    """SHA-256 of the body that begins there. A bare LF counts as a line's end, as it does for dkimpy."""
    digest = hashlib.sha256()
    is_empty = True
    line_ends = 0  # seen, and hashed only if something comes below them
    for piece in _pieces(content, start):
        text = piece.replace(b"\r\n", b"\n").replace(b"\t", b" ")
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        if not text.endswith(b"\n"):  # the last one, which gets its line end on the wire
            text += b"\n"
        text = text.replace(b" \n", b"\n")
        lines = text.rstrip(b"\n")
        if lines:
            digest.update(b"\r\n" * line_ends)
            digest.update(lines.replace(b"\n", b"\r\n"))
            is_empty = False
            line_ends = 0
        line_ends += len(text) - len(lines)
    if not is_empty:
        digest.update(b"\r\n")
    return digest.digest()


def _pieces(content: bytes, start: int) -> Iterator[bytes]:
    while start < len(content):
        end = content.find(b"\n", start + PIECE_OCTETS) + 1 or len(content)
        yield content[start:end]
        start = end
