"""Whatever a client keeps sending, in whichever state: what is kept of it has a bound."""

import gc
import logging
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.effort import examples
from tests.fuzz.grammar import EHLO, ENVELOPE, LOGIN, PIECES
from tests.fuzz.rig import Rig, make_settings, rig

SITE = make_settings(max_message_bytes=10_000, max_recipients=10, max_transactions=10)
SEGMENT_OCTETS = 4096
HIGH_WATER_OCTETS = 64 * 1024
"""As asyncio has it."""
BOUND_OCTETS = 100_000
"""Many times the biggest message, and a fraction of what is sent."""
PIPELINED_OCTETS = 150_000
"""What a client may send that should wait for a reply."""

STATES = {
    "connected": b"",
    "greeted": EHLO,
    "logged in": EHLO + LOGIN,
    "challenged": EHLO + b"AUTH LOGIN\r\n",
    "in a transaction": EHLO + LOGIN + ENVELOPE,
    "in content": EHLO + LOGIN + ENVELOPE + b"DATA\r\n",
    "in content that is too big": EHLO + LOGIN + ENVELOPE + b"DATA\r\n" + 15_000 * b"x",
    "in a chunk": EHLO + LOGIN + ENVELOPE + b"BDAT 9000\r\n",
    "in a chunk that is too big": EHLO + LOGIN + ENVELOPE + b"BDAT 999999999 LAST\r\n",
    "ended": b"QUIT\r\n",
}
WORKING = {
    "logging in": EHLO + LOGIN,
    "routing": EHLO + LOGIN + ENVELOPE + b"DATA\r\n.\r\n",
    "routing chunks": EHLO + LOGIN + ENVELOPE + b"BDAT 1 LAST\r\nx",
}
FLOODS = st.one_of(
    st.sampled_from(
        [
            *(EHLO, b"HELP\r\n", b"NOOP\r\n", ENVELOPE + b"RSET\r\n", b"RCPT TO:<b@b.example>\r\n"),
            *(
                b"BDAT 0\r\n",
                b"BDAT 1\r\nx",
                ENVELOPE + b"BDAT 0 LAST\r\n" + 9 * EHLO,
                b"X" + 600 * b"x",
            ),
            *(
                b"AUTH PLAIN\r\n*\r\n",
                b"AUTH PLAIN\r\n*\r\n" + 9 * EHLO,
                b"*\r\n",
                b"x",
                b"\r",
                b"\n",
                b"\0",
                b"\r\n.",
                b"\r\n..",
                b".\r\n",
                b"\r.\n",
            ),
        ]
    ),
    st.lists(PIECES | st.binary(min_size=8, max_size=40), min_size=1, max_size=5).map(b"".join),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Rig]:
    with rig() as lab:
        yield lab


@contextmanager
def traced() -> Iterator[None]:
    logging.disable(logging.WARNING)  # pytest keeps what is logged
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)


def flood(piece: bytes) -> bytes:
    return piece * (SEGMENT_OCTETS // len(piece) + 1)


def kept(lab: Rig, before: bytes, piece: bytes, segments: int, takes_s: float) -> int:
    """How much memory is taken by so many segments, or by those that are read."""
    meeting = lab.meet(SITE, takes_s=takes_s)
    meeting.say([before])
    segment = flood(piece)
    with traced():
        for _ in range(segments):
            if meeting.pipe.is_closing() or not meeting.pipe.is_reading():
                break
            meeting.say([segment], pause_s=0.0 if takes_s else 20.0)
            meeting.pipe.heard.clear()
            meeting.keeper.messages.clear()
        if tracemalloc.get_traced_memory()[0] > BOUND_OCTETS // 2:
            gc.collect()  # what only waits to be collected does not count; it takes long
        octets, _ = tracemalloc.get_traced_memory()
    meeting.end()
    return octets


@given(state=st.sampled_from(sorted(STATES)), piece=FLOODS)
@examples(12)
def test_what_is_kept_of_a_flood_has_a_bound(lab: Rig, state: str, piece: bytes) -> None:
    segments = 10 if b"\r\n" in piece else 50  # thousands of commands are as telling as many octets
    assert kept(lab, STATES[state], piece, segments, takes_s=0) < BOUND_OCTETS


@given(state=st.sampled_from(sorted(WORKING)), piece=FLOODS)
@examples(8)
def test_what_is_pipelined_while_the_client_should_wait_has_a_bound(
    lab: Rig, state: str, piece: bytes
) -> None:
    assert kept(lab, WORKING[state], piece, segments=100, takes_s=1) < PIPELINED_OCTETS + BOUND_OCTETS


@given(
    state=st.sampled_from(sorted(STATES | WORKING)), piece=FLOODS, takes_s=st.sampled_from([0.0, 1.0])
)
@example(state="greeted", piece=b"AUTH PLAIN\r\n*\r\n" + 9 * EHLO, takes_s=0.0)
@example(state="greeted", piece=b"AUTH PLAIN AGEAYQ==\r\n" + 9 * EHLO, takes_s=1.0)
@example(state="logged in", piece=ENVELOPE + b"BDAT 0 LAST\r\n" + 9 * EHLO, takes_s=0.0)
@examples(20)
def test_a_client_that_does_not_read_is_not_read_from(
    lab: Rig, state: str, piece: bytes, takes_s: float
) -> None:
    meeting = lab.meet(SITE, takes_s=takes_s, high_water=HIGH_WATER_OCTETS)
    meeting.say([(STATES | WORKING)[state]])
    segment = flood(piece)
    for _ in range(100):
        if meeting.pipe.is_closing() or not meeting.pipe.is_reading():
            break
        meeting.say([segment], pause_s=20.0)
    assert meeting.pipe.most_unread < HIGH_WATER_OCTETS + PIPELINED_OCTETS + BOUND_OCTETS
    meeting.end()
