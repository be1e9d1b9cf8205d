"""Content on its way out: the same octets, in blocks."""

from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.content import stuff
from smtp_router.smtp.blocks import BLOCK_OCTETS, ONE_WRITE_OCTETS, blocks


def sizes(*pieces: int) -> list[int]:
    return [sum(map(len, block)) for block in blocks(size * b"x" for size in pieces)]


def test_small_pieces_go_together_and_big_ones_are_cut() -> None:
    assert sizes() == []
    assert sizes(0, 0) == []
    assert sizes(1, 2, 3) == [6]
    assert sizes(BLOCK_OCTETS) == [BLOCK_OCTETS]
    assert sizes(BLOCK_OCTETS - 1, 2) == [BLOCK_OCTETS, 1]
    assert sizes(2 * BLOCK_OCTETS + 1, 5) == [BLOCK_OCTETS, BLOCK_OCTETS, 6]


@given(st.lists(st.tuples(st.integers(0, 3 * BLOCK_OCTETS), st.binary(max_size=3)), max_size=5))
def test_no_octet_is_lost_or_moved(drawn: list[tuple[int, bytes]]) -> None:
    pieces = [size * mark for size, mark in drawn]
    cut = [b"".join(block) for block in blocks(pieces)]
    assert b"".join(cut) == b"".join(pieces)
    assert all(len(block) == BLOCK_OCTETS for block in cut[:-1])
    assert all(cut)


def test_what_is_cut_is_not_copied() -> None:
    piece = 3 * BLOCK_OCTETS * b"x"
    for *_, part in blocks((b"top", piece)):
        assert isinstance(part, memoryview)
        assert part.obj is piece


def test_what_goes_out_in_one_write_is_one_block_however_many_dots_are_doubled() -> None:
    lines = ONE_WRITE_OCTETS // 3
    for content in (lines * b".\r\n", lines * b"...", ONE_WRITE_OCTETS * b"x"):
        wire = (*stuff(content[: ONE_WRITE_OCTETS - 2]).pieces, b".\r\n")
        assert len(list(blocks(wire))) == 1
    assert len(list(blocks((*stuff((lines + 1) * b".\r\n").pieces, b".\r\n")))) == 2
