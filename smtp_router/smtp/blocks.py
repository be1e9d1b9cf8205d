"""A message's content on its way out: wire octets, cut into blocks without a copy of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

BLOCK_OCTETS = 64 * 1024
"""How much is handed to the system at once. How much of a block has arrived cannot be seen, so a message
is in doubt from its last block on."""

ONE_WRITE_OCTETS = (BLOCK_OCTETS - len(b".\r\n")) * 3 // 4
"""Content of this size makes one block at most, with the final dot and all dots doubled: there is one in
three octets at most."""

Block: TypeAlias = Sequence[bytes | memoryview]
"""Octets that go out together, in order."""


def blocks(pieces: Iterable[bytes | memoryview]) -> Iterator[Block]:
    """The same octets, in blocks of `BLOCK_OCTETS`; the last one may be smaller, and none is empty."""
    block: list[bytes | memoryview] = []
    room = BLOCK_OCTETS
    for piece in pieces:
        rest = memoryview(piece)
        while len(rest) >= room:
            yield (*block, rest[:room])
            rest = rest[room:]
            block, room = [], BLOCK_OCTETS
        if rest:
            block.append(rest)
            room -= len(rest)
    if block:
        yield block
