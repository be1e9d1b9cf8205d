"""Any session in any segments: the same replies, the same messages, and never an exception."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.config.settings import Settings
from tests.fuzz.checks import check, check_timely, essence
from tests.fuzz.effort import examples
from tests.fuzz.grammar import (
    BIG_TRANSACTIONS,
    EHLO,
    ENVELOPE,
    LOGIN,
    RIGHT,
    cut,
    segments,
    sessions,
    singly,
)
from tests.fuzz.rig import Rig, make_settings, rig

SMALL = make_settings(max_message_bytes=60, max_recipients=3, max_transactions=4)
LAX = make_settings(bare_newlines="accept")
SUSPICIOUS = make_settings(bare_newlines="accept", auth_failures=1)
"""Failed logins are answered late."""
BIG = make_settings(max_message_bytes=60_000)
DOTS = ENVELOPE + b"DATA\r\n" + 20_000 * b"\r\n.." + b"\r\n.\r\n"
"""Wherever it is cut, four cuts side by side meet every octet of it."""
SITES = st.sampled_from([SMALL, LAX])


@pytest.fixture(scope="module")
def lab() -> Iterator[Rig]:
    with rig() as lab:
        yield lab


@given(octets=sessions(), site=SITES)
@examples(120)
def test_everything_said_has_one_reply_and_every_end_of_data_one_message(
    lab: Rig, octets: bytes, site: Settings
) -> None:
    meeting = lab.meet(site)
    meeting.say([octets])
    check(octets, meeting.end(), site)


@given(octets=sessions(), site=SITES)
@example(octets=EHLO + b"AUTH PLAIN\r\n*\n" + RIGHT + b"\r\nAUTH PLAIN\r\nNOOP\r\n", site=LAX)
@examples(60)
def test_a_reply_comes_behind_the_octet_that_completes_what_it_answers(
    lab: Rig, octets: bytes, site: Settings
) -> None:
    meeting = lab.meet(site)
    meeting.say(singly(octets))
    trace = meeting.end()
    check_timely(check(octets, trace, site), trace)


@given(data=st.data(), octets=sessions(), site=st.sampled_from([SMALL, LAX, SUSPICIOUS]))
@examples(120)
def test_neither_segments_nor_their_pace_change_what_comes_of_a_session(
    lab: Rig, data: st.DataObject, octets: bytes, site: Settings
) -> None:
    whole = lab.meet(site)
    whole.say([octets])
    expected = essence(whole.end())
    takes_s = data.draw(st.sampled_from([0.0, 1.0]), "a login or delivery takes, in seconds")
    high_water = data.draw(st.sampled_from([None, 0, 400]), "replies that may be unread, in octets")
    pause_s = data.draw(st.sampled_from([None, 0.0, 0.4, 0.9]), "pause")
    for pieces in (data.draw(segments(octets)), singly(octets)):
        meeting = lab.meet(site, takes_s=takes_s, high_water=high_water)
        meeting.say(pieces, pause_s=pause_s)
        assert essence(meeting.end()) == expected


@given(
    octets=BIG_TRANSACTIONS,
    site=st.sampled_from([LAX, BIG]),
    step=st.sampled_from([100, 32 * 1024, 40_000, 200_000]),
    offset=st.integers(0, 200),
)
@example(octets=DOTS, site=LAX, step=32 * 1024, offset=0)
@example(octets=DOTS, site=LAX, step=32 * 1024, offset=1)
@example(octets=DOTS, site=LAX, step=32 * 1024, offset=2)
@example(octets=DOTS, site=LAX, step=32 * 1024, offset=3)
@examples(40)
def test_big_content_does_not_depend_on_segments(
    lab: Rig, octets: bytes, site: Settings, step: int, offset: int
) -> None:
    octets = EHLO + LOGIN + octets + b"NOOP\r\n"
    meeting = lab.meet(site)
    meeting.say(cut(octets, range(offset, len(octets), step)))
    check(octets, meeting.end(), site)


@given(data=st.data(), octets=sessions())
@examples(80)
def test_of_a_client_that_goes_nothing_is_left(lab: Rig, data: st.DataObject, octets: bytes) -> None:
    sent = octets[: data.draw(st.integers(0, len(octets)), "gone behind")]
    pieces = data.draw(segments(sent), "segments")
    pause_s = data.draw(st.sampled_from([None, 0.0, 0.4]), "pause")
    in_order = data.draw(st.booleans(), "in order")
    whole = lab.meet(SMALL)
    whole.say([octets])
    expected = whole.end().messages
    meeting = lab.meet(SMALL, takes_s=1)
    meeting.say(pieces, pause_s=pause_s)
    if in_order:
        meeting.pipe.shut_down()
    else:
        meeting.pipe.reset()
    meeting.check_gone()
    routed = tuple(meeting.keeper.messages)
    assert routed == expected[: len(routed)]
