import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.smtp.newlines import LineEnds, WholeLineEnds

WHOLE = WholeLineEnds()
"""One for all: what it has seen before is forgotten."""


def have_bare_newlines(*pieces: bytes) -> bool:
    *others, last = pieces or (b"",)
    line_ends = LineEnds()
    for piece in others:
        line_ends.feed(piece)
    line_ends.feed(last, last=True)
    return line_ends.bare


@pytest.mark.parametrize(
    ("content", "bare"),
    [
        (b"", False),
        (b"\r\n", False),
        (b"a\r\n\r\nb", False),
        (b"\r\n\r\n.\r\n", False),
        (b"\x0b\x0c\x85\xe2\x80\xa8\x1c\x1d\x1e", False),
        (b"\r", True),
        (b"\n", True),
        (b"\0", True),
        (b"\n\r", True),
        (b"\r\r\n", True),
        (b"\r\n\n", True),
        (b"\n\r\n", True),
        (b"\r\n\r", True),
        (b"\r\0\n", True),
    ],
)
def test_only_crlf_ends_a_line(content: bytes, *, bare: bool) -> None:
    assert WHOLE.has_bare(content) is bare
    for at in range(len(content) + 1):
        assert have_bare_newlines(content[:at], content[at:]) is bare


PIECE = st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"a", b"\r\n", b"\r\n"])).map(b"".join)


@given(st.lists(PIECE))
def test_it_is_what_its_definition_says_in_any_pieces(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    bare = bool(re.search(rb"\r(?!\n)|(?<!\r)\n|\0", content))
    assert WHOLE.has_bare(content) == bare
    assert have_bare_newlines(content) == bare
    assert have_bare_newlines(*pieces) == bare
    assert have_bare_newlines(*(bytes((octet,)) for octet in content)) == bare
