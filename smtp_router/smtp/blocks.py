"""A message's content on its way out: wire octets, cut into blocks."""

from collections.abc import Iterable, Iterator

BLOCK_OCTETS = 64 * 1024
"""How much is handed to the system at once. How much of a block has arrived cannot be seen, so a message
is in doubt from its last block on."""


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same octets, in blocks of `BLOCK_OCTETS`; the last one may be smaller, and none is empty."""
    gathered: list[bytes] = []
    room = BLOCK_OCTETS
    for piece in pieces:
        start = 0
        while len(piece) - start >= room:
            yield b"".join((*gathered, piece[start : start + room]))
            start += room
            gathered, room = [], BLOCK_OCTETS
        if start < len(piece):
            gathered.append(piece[start:])
            room -= len(piece) - start
    if gathered:
        yield b"".join(gathered)
