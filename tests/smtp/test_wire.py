"""Cutting octets into commands and content: the same whatever segments they come in."""

import itertools
import operator
import re
import tracemalloc
import weakref
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_router.core.content import Stuffed
from smtp_router.smtp import body as pieces_of_content
from smtp_router.smtp.body import LARGE_OCTETS, Body
from smtp_router.smtp.wire import MAX_LINE_OCTETS, Mark, Wire, whole_content

ROOMY = 1_000_000
TOO_BIG = "too big"

Cut = bytes | Stuffed | Mark | str
"""A command line, or content; or that one was too long, or too big, or (a chunk) not wanted."""


def make_body(max_octets: int, *, stuffed: bool = True) -> Body:
    return Body(max_octets, stuffed=stuffed, is_full=lambda: False)


def content_of(body: Body) -> Cut:
    if body.is_too_big:
        return TOO_BIG
    return Stuffed((b"".join(body.content.pieces),), body.content.size)


def cut(pieces: Iterable[bytes], max_octets: int = ROOMY) -> tuple[list[Cut], bytes]:
    """The events of these segments, and what is left.

    Behind a line `DATA` comes content, behind `BDAT n` a chunk, behind `DROP n` one that nobody wants.
    """
    wire = Wire()
    events: list[Cut] = []
    body: Body | None = None
    for piece in pieces:
        wire.feed(piece)
        while (event := wire.next_event()) is not None:
            if isinstance(event, Mark) and event is not Mark.LINE_TOO_LONG:
                assert not wire.in_body
                if body:
                    body.end()
                events.append(content_of(body) if body else event)
                continue
            events.append(event)
            if event == b"DATA":
                body = make_body(max_octets)
                wire.start_content(body)
            elif isinstance(event, bytes) and (chunk := CHUNK.fullmatch(event)):
                body = make_body(max_octets, stuffed=False) if chunk[1] == b"BDAT" else None
                wire.start_chunk(int(chunk[2]), body)
    wire.feed(b"")
    assert wire.next_event() is None
    return events, b"in content" if wire.in_body else b"between commands"


CHUNK = re.compile(rb"(BDAT|DROP) ([0-9]{1,3})")


def whole(data: bytes, max_octets: int = ROOMY) -> tuple[list[Cut], bytes]:
    """The same, said in the fewest words: all octets at hand, nothing kept in between."""
    events: list[Cut] = []
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return events, b"between commands"
        events.append(line if len(line) + 2 <= MAX_LINE_OCTETS else Mark.LINE_TOO_LONG)
        data = rest
        if line == b"DATA":
            content, end, rest = (b"\r\n" + data).partition(b"\r\n.\r\n")
            if not end:
                return events, b"in content"
            data = rest
            events.append(strictly_stuffed((content + b"\r\n")[2:], max_octets))
        elif chunk := CHUNK.fullmatch(line):
            length = int(chunk[2])
            if len(data) < length:
                return events, b"in content"
            content, data = data[:length], data[length:]
            events.append(written(content, max_octets) if chunk[1] == b"BDAT" else Mark.CHUNK)


def strictly_stuffed(content: bytes, max_octets: int = ROOMY) -> Cut:
    """Line by line: a dot at the start goes (RFC 5321 4.5.2), and it is doubled where one is left."""
    lines = [line.removeprefix(b".") for line in content.split(b"\r\n")]
    size = sum(map(len, lines)) + 2 * (len(lines) - 1)  # RFC 1870 3
    return Stuffed((doubled(lines),), size) if size <= max_octets else TOO_BIG


def written(content: bytes, max_octets: int) -> Cut:
    """What comes counted comes as it was written; it gets a line end if it has none."""
    if len(content) > max_octets:
        return TOO_BIG
    ended = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    return Stuffed((doubled(ended.split(b"\r\n")),), len(ended))


def doubled(lines: list[bytes]) -> bytes:
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


TOKENS = st.sampled_from(
    [
        *(b"\r\n", b"\r\n.\r\n", b"\r", b"\n", b".", b"..", b"NOOP", b" ", b"\0", b"\xff"),
        *(b"DATA\r\n", b"BDAT 0\r\n", b"BDAT 3\r\n", b"BDAT 12\r\n", b"DROP 0\r\n", b"DROP 7\r\n"),
    ]
)
STREAM = st.lists(TOKENS, max_size=25).map(b"".join)


@given(
    data=STREAM,
    cuts=st.lists(st.integers(0, 80)),
    max_octets=st.sampled_from([0, 1, 3, 6, ROOMY]),
    large=st.sampled_from([1, 2, 5, LARGE_OCTETS]),
)
@settings(max_examples=100)
def test_events_do_not_depend_on_segments(
    data: bytes, cuts: list[int], max_octets: int, large: int
) -> None:
    """Nor on which pieces of content are looked at by themselves."""
    expected = whole(data, max_octets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_of_content, "LARGE_OCTETS", large)
        assert cut([data], max_octets) == expected
        assert cut(split(data, (min(at, len(data)) for at in cuts)), max_octets) == expected
        assert cut((bytes((octet,)) for octet in data), max_octets) == expected


@given(STREAM.map(lambda data: b"DATA\r\n" + data + b"\r\n.\r\nQUIT\r\n"))
@settings(max_examples=100)
def test_content_does_not_depend_on_where_it_is_split_in_two(data: bytes) -> None:
    expected = whole(data)
    for at in range(len(data)):
        assert cut(split(data, [at])) == expected


CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"\r\n.\r\n", b"\r\n.", b"\r", b"\n", b".", b"a", b"NOOP\r\n"]),
    max_size=12,
).map(b"".join)


@given(st.builds(operator.add, CONTENT, st.sampled_from([b"", b"\r\n.\r\n", b"\r\n.\r\n"])))
def test_content_that_comes_as_a_whole_is_what_is_cut_off_the_wire(octets: bytes) -> None:
    content = whole_content(octets)
    if content is not None:
        events, state = cut([b"DATA\r\n", octets])
        assert events == [b"DATA", Stuffed((content,), len(content))]
        assert state == b"between commands"


def test_most_content_comes_as_a_whole() -> None:
    content = b"Subject: 1.5\r\n\r\nNo. 2\r\n"
    assert whole_content(content + b".\r\n") == content


@pytest.mark.parametrize("counted", [True, False])
def test_content_that_has_ended_is_kept_by_nobody(*, counted: bool) -> None:
    """A connection may be idle for long behind a message of many megabytes."""
    wire, body = Wire(), make_body(ROOMY)
    gone = weakref.ref(body)
    if counted:
        wire.start_chunk(3, body)
    else:
        wire.start_content(body)
    wire.feed(b"a\n" if counted else b"a")
    assert wire.next_event() is None
    wire.feed(b"x" if counted else b"\r\n.\r\n")
    assert wire.next_event() in {Mark.CONTENT, Mark.CHUNK}
    del body
    assert gone() is None


# Smuggling

ENDS = {
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "CRCRLF": b"\r\r\n",
    "LFCR": b"\n\r",
    "NUL": b"\0",
    "CRNULLF": b"\r\0\n",
    "VT": b"\v",
    "FF": b"\f",
    "NEL": b"\xc2\x85",
    "LS": b"\xe2\x80\xa8",
    "none": b"",
}
NO_END = [
    (before, after)
    for before, after in itertools.product(ENDS, repeat=2)
    if b"\r\n.\r\n" not in ENDS[before] + b"." + ENDS[after]
]


@pytest.mark.parametrize(("before", "after"), NO_END)
def test_only_crlf_dot_crlf_ends_content(before: str, after: str) -> None:
    """RFC 5321 2.3.8, 4.1.1.4; split at every octet."""
    content = b"one" + ENDS[before] + b"." + ENDS[after] + b"MAIL FROM:<x@x.example>\r\n"
    data = b"DATA\r\n" + content + b".\r\nQUIT\r\n"
    expected = [b"DATA", strictly_stuffed(content), b"QUIT"]
    for large in (1, LARGE_OCTETS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces_of_content, "LARGE_OCTETS", large)
            for at in range(len(data)):
                assert cut(split(data, [at]))[0] == expected


@pytest.mark.parametrize("data", [b"\n", b"\r", b"NOOP\nNOOP\n", b"NOOP\r", b"NOOP\rNOOP", b"\n\r"])
def test_only_crlf_ends_a_command(data: bytes) -> None:
    assert cut([data])[0] == []
    assert cut([data, b"\r\n"])[0] == [data]


def test_a_dot_right_behind_data_ends_empty_content() -> None:
    for at in range(len(b"DATA\r\n.\r\n")):
        assert cut(split(b"DATA\r\n.\r\n", [at]))[0] == [b"DATA", Stuffed((b"",), 0)]


# Bounds


@pytest.mark.parametrize(("octets", "fits"), [(-1, True), (0, True), (1, False), (1000, False)])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(octets: int, *, fits: bool) -> None:
    line = (MAX_LINE_OCTETS - 2 + octets) * b"x"
    for pieces in ([line, b"\r\n"], [line + b"\r", b"\n"], [line + b"\r\n"], [b"x", line[1:] + b"\r\n"]):
        events, _ = cut([*pieces, b"NOOP\r\n"])
        assert events == [line if fits else Mark.LINE_TOO_LONG, b"NOOP"]


@pytest.mark.parametrize("piece", [10_000 * b"x", 10_000 * b"\r", 10_000 * b"\n"])
def test_an_endless_line_is_dropped_as_it_comes(piece: bytes) -> None:
    wire = Wire()
    for _ in range(1000):
        wire.feed(piece)
        assert wire.next_event() is None
        assert wire.buffered <= MAX_LINE_OCTETS + 1
    wire.feed(b"\r\nNOOP\r\n")
    assert wire.next_event() is Mark.LINE_TOO_LONG
    assert wire.next_event() == b"NOOP"


@pytest.mark.parametrize(
    "content",
    [
        b"0123456789\r\n",
        b"..234567890\r\n",
        b"..\r\n..\r\n..\r\n..\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\n",
        b"\r\r\r\r\r\n\n\n\n\n\r\n",
    ],
)
def test_content_may_be_as_big_as_the_limit_and_no_bigger(content: bytes) -> None:
    """Counted as the client counts it, without doubled dots (RFC 1870 3); in any segments."""
    assert len(content.replace(b"..", b".")) == 12
    data = b"DATA\r\n" + content + b".\r\nNOOP\r\n"
    ways = [split(data, cuts) for cuts in itertools.combinations(range(6, len(data)), 2)]
    for pieces in (*ways, [bytes((octet,)) for octet in data]):
        taken = Stuffed((content,), 12)
        for limit, event in ((13, taken), (12, taken), (11, TOO_BIG)):
            assert cut(pieces, limit)[0][1:] == [event, b"NOOP"], (pieces, limit)


@pytest.mark.parametrize("piece", [2**16 * b"x", 2**14 * b"\r\n..", 2**14 * b"\r\n\n."])
def test_content_above_the_limit_is_dropped_as_it_comes(piece: bytes) -> None:
    wire, body = Wire(), make_body(2**17)
    wire.start_content(body)
    tracemalloc.start()
    try:
        for _ in range(200):
            wire.feed(piece)
            assert wire.next_event() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    wire.feed(b"\r\n.\r\n")
    assert wire.next_event() is Mark.CONTENT
    assert body.is_too_big
    assert not body.pieces


def test_clear_forgets_what_is_not_cut_yet() -> None:
    """What was sent in clear before TLS began counts for nothing (RFC 3207 4.2)."""
    wire = Wire()
    wire.feed(b"NOOP\r\nMAIL FROM:<x@x.example>\r\nhalf")
    assert wire.next_event() == b"NOOP"
    wire.clear()
    assert wire.next_event() is None
    wire.feed(b"QUIT\r\n")
    assert wire.next_event() == b"QUIT"


@pytest.mark.parametrize("end", [b"x", b"\r\n"])
def test_a_piece_of_content_is_not_copied(end: bytes) -> None:
    """Wherever it was cut; only what may begin the end of content is held back, and a CRLF is not."""
    pieces = [LARGE_OCTETS * b"x" + end for _ in range(3)]
    wire, body = Wire(), make_body(ROOMY)
    wire.start_content(body)
    for piece in pieces:
        wire.feed(piece)
        assert wire.next_event() is None
    assert all(map(operator.is_, body.pieces, pieces))
    assert len(body.pieces) == len(pieces)
