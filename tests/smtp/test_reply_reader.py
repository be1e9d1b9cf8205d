"""A downstream's replies: strict, bounded, and the same whatever segments they come in."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.smtp.reply_reader import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    NO_REPLY,
    ReplyReader,
    WireReply,
    text_of,
)


def read(segments: Iterable[bytes]) -> tuple[list[WireReply], bool]:
    """The replies in these segments, and whether something is left."""
    reader = ReplyReader()
    replies = [reply for segment in segments for reply in reader.feed(segment)]
    return replies, reader.is_partial


LONGEST = b"250 " + (MAX_LINE_OCTETS - 6) * b"x" + b"\r\n"

GOOD = [
    (b"250 ok\r\n", [(250, b"ok")]),
    (b"250\r\n", [(250, b"")]),
    (b"250 \r\n", [(250, b"")]),
    (b"599 2.0.0  two  spaces \r\n", [(599, b"2.0.0  two  spaces ")]),
    (b"200 \x00\xff\t\r\n", [(200, b"\x00\xff\t")]),
    (b"250-one\r\n250-\r\n250 three\r\n", [(250, b"one\n\nthree")]),
    (b"250-one\r\n250\r\n", [(250, b"one\n")]),
    (b"250 a\r\n354 b\r\n", [(250, b"a"), (354, b"b")]),
    (b"250-a\r\n250 b\r\n421-c\r\n421 d\r\n", [(250, b"a\nb"), (421, b"c\nd")]),
    (LONGEST, [(250, (MAX_LINE_OCTETS - 6) * b"x")]),
    (
        (MAX_LINES - 1) * b"250-a\r\n" + b"250 b\r\n",
        [(250, b"\n".join([b"a"] * (MAX_LINES - 1) + [b"b"]))],
    ),
]
BAD = [
    b"what?\r\n",
    b"\r\n",
    b"\n",
    b"25\r\n",
    b"2 50 ok\r\n",
    b"+25 ok\r\n",
    b" 250 ok\r\n",
    b"2500 ok\r\n",
    b"250_ok\r\n",
    b"250\tok\r\n",
    b"000 nothing\r\n",
    b"199 too low\r\n",
    b"600 too high\r\n",
    "²50 ok\r\n".encode(),
    b"250 ok\n",
    b"250 ok\r\r\n",
    b"250 bare \r CR\r\n",
    b"250-one\r\n251 two\r\n",
    b"250-one\r\ntwo\r\n",
    b"250-one\r\n250two\r\n",
    LONGEST[:-2] + b"x\r\n",
    MAX_LINES * b"250-a\r\n" + b"250 b\r\n",
    100_000 * b"x",
    100_000 * b"250-a\r\n",
]


@pytest.mark.parametrize(("octets", "replies"), GOOD, ids=lambda value: repr(value)[:30])
def test_replies_are_read_as_the_grammar_says(octets: bytes, replies: list[WireReply]) -> None:
    assert read([octets]) == (replies, False)


@pytest.mark.parametrize("octets", BAD, ids=lambda octets: repr(octets[:20]))
def test_what_is_no_reply_has_no_code_and_nothing_is_read_behind_it(octets: bytes) -> None:
    replies, is_partial = read([b"250 before\r\n" + octets, b"250 behind\r\n"])
    assert [code for code, _ in replies] == [250, NO_REPLY]
    assert is_partial


@pytest.mark.parametrize("octets", [b"2", b"250 ok", b"250 ok\r", b"250-one\r\n", b"250-one\r\n250 t"])
def test_half_a_reply_is_none_yet(octets: bytes) -> None:
    assert read([octets]) == ([], True)


@pytest.mark.parametrize("octets", [*(octets for octets, _ in GOOD), *BAD], ids=lambda o: repr(o[:20]))
def test_octet_by_octet_is_all_at_once(octets: bytes) -> None:
    octets = b"220 before\r\n" + octets[:10_000] + b"250 behind\r\n"
    assert read(octets[at : at + 1] for at in range(len(octets))) == read([octets])


PIECES = (b"250", b"-", b" ", b"\r\n", b"\n", b"\r", b"ok", b"354 go\r\n", b"251-", b"\xff", b"5")


@given(
    st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)),
    st.lists(st.integers(0, 100)),
)
def test_segments_make_no_difference(octets: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    assert read(octets[a:b] for a, b in itertools.pairwise(edges)) == read([octets])


@given(st.lists(st.binary(max_size=5000), max_size=20))
def test_nothing_makes_it_keep_more_than_its_bounds(segments: list[bytes]) -> None:
    reader = ReplyReader()
    for segment in [b"250-", *segments, MAX_LINES * MAX_LINE_OCTETS * b"y"]:
        for code, octets in reader.feed(segment):
            assert len(octets) <= MAX_LINES * MAX_LINE_OCTETS
            assert code == NO_REPLY or 200 <= code <= 599
    assert reader.feed(b"250 ok\r\n") == []


def test_a_text_is_read_whatever_octets_it_has() -> None:
    assert text_of("grün\n☃".encode()) == "grün\n☃"
    assert not text_of(b"\xff").isprintable()
