"""Dot transparency, as a property (RFC 5321 4.5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.content import stuff, unstuff

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
