"""Dot transparency, as a property (RFC 5321 4.5.2)."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core import content as module
from smtp_router.core.content import PIECE_OCTETS, Stuffed, head_of, stuff, unstuff
from smtp_router.core.headers import format_field, header_end

CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\0", b"\xff"]), max_size=30
).map(b"".join)


def wire_of(content: bytes) -> bytes:
    return b"".join(stuff(content).pieces)


def ended(content: bytes) -> bytes:
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


@given(CONTENT)
def test_what_is_stuffed_comes_back_with_a_line_end(content: bytes) -> None:
    assert unstuff(wire_of(content)) == ended(content)
    assert stuff(content).content() == ended(content)
    assert stuff(content).size == len(ended(content))


@given(CONTENT)
def test_what_is_stuffed_holds_no_end_of_content(content: bytes) -> None:
    assert b"\r\n.\r\n" not in b"\r\n" + wire_of(content)


@given(CONTENT)
def test_wire_that_a_strict_client_made_goes_out_as_it_came_in(content: bytes) -> None:
    wire = wire_of(content)
    assert wire_of(unstuff(wire)) == wire


@given(CONTENT)
def test_only_dots_at_the_start_of_a_line_are_doubled(content: bytes) -> None:
    lines = ended(content).split(b"\r\n")
    assert wire_of(content) == b"\r\n".join(
        b"." + line if line.startswith(b".") else line for line in lines
    )


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b""),
        (b".", b"..\r\n"),
        (b"a", b"a\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n"),
        (b"\n.\n\r.\r", b"\n.\n\r.\r\r\n"),  # a bare CR or LF ends no line
        (b"\r\r\n.", b"\r\r\n..\r\n"),
    ],
)
def test_stuffing(content: bytes, wire: bytes) -> None:
    assert wire_of(content) == wire


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b"", b""),
        (b".a\r\n", b"a\r\n"),  # not stuffed by a lax client: the dot goes all the same
        (b"...\r\n", b"..\r\n"),
        (b"\n..\r\n", b"\n..\r\n"),
    ],
)
def test_unstuffing(wire: bytes, content: bytes) -> None:
    assert unstuff(wire) == content


# In pieces


@given(CONTENT, st.integers(2, 9))
def test_big_content_is_stuffed_in_pieces_and_comes_out_the_same(content: bytes, octets: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_OCTETS", octets)
        pieces = stuff(content).pieces
    assert b"".join(pieces) == wire_of(content)
    assert all(0 < len(piece) <= 2 * octets for piece in pieces)


@pytest.mark.parametrize("at", range(-4, 3))
def test_a_line_may_begin_anywhere_about_the_end_of_a_piece(at: int) -> None:
    first = (PIECE_OCTETS + at) * b"x"
    stuffed = stuff(first + b"\r\n.\r\n..a")
    assert len(stuffed.pieces) == 2
    assert b"".join(stuffed.pieces) == first + b"\r\n..\r\n...a\r\n"


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        (PIECE_OCTETS * b"x", 2),  # the line end that it gets
        ((PIECE_OCTETS - 2) * b"x" + b"\r\n", 1),
        (3 * PIECE_OCTETS * b"x" + b"\r\n", 4),
        ((PIECE_OCTETS // 5) * b".\r\n.." + b"\r\n", 1),
    ],
)
def test_no_more_is_worked_on_at_a_time_than_a_piece(content: bytes, pieces: int) -> None:
    stuffed = stuff(content)
    assert len(stuffed.pieces) == pieces
    assert max(map(len, stuffed.pieces)) <= 2 * PIECE_OCTETS
    assert stuffed.content() == ended(content)


@pytest.mark.parametrize(
    ("name", "value"), [("A", "b"), (".A", "b"), ("..A", "."), ("A.", 99 * ". "), (".A", 99 * ".b ")]
)
@given(content=CONTENT)
def test_a_field_on_top_is_stuffed_by_itself(name: str, value: str, content: bytes) -> None:
    field = format_field(name, value)
    below = stuff(content).below(field)
    assert below.content() == field + ended(content)
    assert below.size == len(field + ended(content))
    assert b"".join(below.pieces) == wire_of(field + ended(content))


def test_content_is_not_in_a_repr() -> None:
    assert "secret" not in repr(stuff(b"secret\r\n"))


def test_what_came_without_dots_is_the_content_itself() -> None:
    """Nothing is looked through that has none: its size says so."""
    wire = b"a\r\n"
    assert Stuffed((wire,), len(wire)).content() is wire


# The header alone

LINES = st.lists(
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r", b"A: b", b"\r\n\r\n", b"\n\n"]), max_size=20
)


@given(LINES)
def test_the_first_pieces_hold_the_whole_header(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    head = head_of(pieces)
    assert content.startswith(head)
    assert head[: header_end(head)] == content[: header_end(content)]


def test_behind_the_header_no_piece_is_looked_at() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"A: b\r", b"\n\r", b"\nbody")
        pytest.fail("looked at")

    assert head_of(pieces()) == b"A: b\r\n\r\nbody"


def test_a_header_without_end_is_looked_at_up_to_a_bound() -> None:
    head = head_of((1000 * b"x" for _ in range(1000)), 10_000)
    assert len(head) == 10_000
