"""Content as it comes in: the same however it is cut, and no more of it in memory than may be."""

import itertools
import re
import tracemalloc
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_router.core.content import Stuffed
from smtp_router.smtp import body as module
from smtp_router.smtp.body import LARGE_OCTETS, Body

ROOMY = 1_000_000
TOKENS = st.sampled_from([b"\r\n", b"\r\n.", b"\r", b"\n", b".", b"..", b"a", b"\0", b"\xff"])
CONTENT = st.lists(TOKENS, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 60), max_size=8)
LARGE = st.sampled_from([1, 2, 3, 5, LARGE_OCTETS])
"""From which size on a piece is looked at by itself; small ones are put together before."""


def never() -> bool:
    return False


def collect(
    pieces: Iterable[bytes],
    *,
    stuffed: bool,
    max_octets: int = ROOMY,
    large: int = LARGE_OCTETS,
    is_full: Callable[[], bool] = never,
) -> Body:
    """What becomes of content that comes in these pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGE_OCTETS", large)
        body = Body(max_octets, stuffed=stuffed, is_full=is_full)
        for piece in pieces:
            body.add(piece)
        body.end()
    return body


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def ways(data: bytes, cuts: Iterable[int]) -> list[list[bytes]]:
    """All at once, in these pieces, octet by octet."""
    return [[data], split(data, cuts), [bytes((octet,)) for octet in data]]


# The same in the fewest words, with all of the content at hand


def ended(content: bytes) -> bytes:
    """With a line end at its end, if there is a line."""
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


def written(wire: bytes) -> bytes:
    """Line by line: a dot at the start goes (RFC 5321 4.5.2)."""
    return b"\r\n".join(line.removeprefix(b".") for line in wire.split(b"\r\n"))


def sent(content: bytes) -> bytes:
    """Line by line: a dot at the start is doubled."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def has_bare_newlines(content: bytes) -> bool:
    return bool(re.search(rb"\r(?!\n)|(?<!\r)\n|\0", content))


def joined(body: Body) -> tuple[bytes, int]:
    content = body.content
    assert content == Stuffed(body.pieces, content.size)
    return b"".join(content.pieces), content.size


@given(CONTENT, CUTS, LARGE)
@settings(max_examples=150)
def test_content_of_data_is_the_same_however_it_comes(
    content: bytes, cuts: list[int], large: int
) -> None:
    """As a strict client would have sent it, whatever dots were doubled."""
    wire = ended(content)
    expected = written(wire)
    for pieces in ways(wire, cuts):
        body = collect(pieces, stuffed=True, large=large)
        assert joined(body) == (sent(expected), len(expected))
        assert body.content.content() == expected
        assert body.has_bare_newlines == has_bare_newlines(expected)
        assert body.octets == len(wire)


@given(CONTENT, CUTS, LARGE)
@settings(max_examples=150)
def test_content_of_bdat_is_the_same_however_it_comes(
    content: bytes, cuts: list[int], large: int
) -> None:
    """Counted octets are content as they are; only the final dot needs a line of its own."""
    expected = ended(content)
    for pieces in ways(content, cuts):
        body = collect(pieces, stuffed=False, large=large)
        assert joined(body) == (sent(expected), len(expected))
        assert body.content.content() == expected
        assert body.has_bare_newlines == has_bare_newlines(expected)
        assert body.octets == len(content)


@pytest.mark.parametrize("stuffed", [True, False])
@given(content=CONTENT, cuts=CUTS, large=LARGE, limit=st.integers(0, 40))
@settings(max_examples=100)
def test_content_is_too_big_above_its_limit_however_it_comes(
    content: bytes, cuts: list[int], large: int, limit: int, *, stuffed: bool
) -> None:
    """Doubled dots do not count (RFC 1870 3), nor does the line end that a chunk did without."""
    wire = ended(content) if stuffed else content
    size = len(written(wire)) if stuffed else len(content)
    for pieces in ways(wire, cuts):
        body = collect(pieces, stuffed=stuffed, large=large, max_octets=limit)
        assert body.is_too_big == (size > limit)
        if body.is_too_big:
            assert body.pieces == ()
            assert body.held_octets == 0
        else:
            assert body.held_octets == len(wire)


@pytest.mark.parametrize("stuffed", [True, False])
@pytest.mark.parametrize("large", [1, LARGE_OCTETS])
def test_what_finds_no_room_is_dropped_and_stays_so(large: int, *, stuffed: bool) -> None:
    """Also when there is room again before it ends."""
    full = iter([False, True])
    pieces = [b"one\r\n", b"two\r\n", b"three\r\n"]
    if large != 1:
        pieces = [line * large for line in pieces]
    body = collect(pieces, stuffed=stuffed, large=large, is_full=lambda: next(full, False))
    assert body.had_no_room
    assert not body.is_too_big
    assert body.pieces == ()
    assert body.held_octets == 0


# Memory


def grown(body: Body, pieces: Iterable[bytes]) -> int:
    """By how much the memory has grown at its highest, in octets."""
    tracemalloc.start()
    try:
        for piece in pieces:
            body.add(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("stuffed", [True, False])
@pytest.mark.parametrize("octets", [1, 2, 1000, LARGE_OCTETS - 1])
def test_content_that_drips_takes_no_more_than_its_octets(octets: int, *, stuffed: bool) -> None:
    """A piece for each octet would take forty times as much."""
    total = 20 * LARGE_OCTETS
    body = Body(ROOMY, stuffed=stuffed, is_full=never)
    drops = itertools.repeat(octets * b"x", total // octets)
    assert grown(body, drops) < total + 4 * LARGE_OCTETS
    assert len(body.pieces) <= total // LARGE_OCTETS


@pytest.mark.parametrize("stuffed", [True, False])
@pytest.mark.parametrize("octets", [100, LARGE_OCTETS, 8 * LARGE_OCTETS])
@pytest.mark.parametrize("why", ["too big", "no room"])
def test_what_is_dropped_is_dropped_as_it_comes(octets: int, why: str, *, stuffed: bool) -> None:
    body = Body(
        LARGE_OCTETS if why == "too big" else 10**9, stuffed=stuffed, is_full=lambda: why == "no room"
    )
    piece = octets // 10 * b"12345678\r\n"
    total = 200 * LARGE_OCTETS
    assert grown(body, itertools.repeat(piece, total // octets)) < 5 * max(octets, LARGE_OCTETS)
    assert body.is_too_big == (why == "too big")
    assert body.had_no_room == (why == "no room")
    assert body.held_octets == 0
