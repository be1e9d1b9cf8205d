"""One command a segment, as from a client that waits for each reply: what came before still counts."""

import base64
from collections.abc import Iterator

import pytest

from smtp_router.smtp.session import ClientSession
from tests.fuzz.rig import PASSWORD, USER, Meeting, Rig, make_settings, rig

LOGIN = b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()) + b"\r\n"
MAIL, RCPT = b"MAIL FROM:<a@a.example>\r\n", b"RCPT TO:<b@b.example>\r\n"


@pytest.fixture
def lab() -> Iterator[Rig]:
    with rig() as lab:
        yield lab


def greeted(lab: Rig, *more: bytes) -> Meeting:
    meeting = lab.meet(make_settings(max_message_bytes=9, max_memory_bytes=9))
    meeting.say([b"EHLO client.example\r\n", LOGIN, *more])
    return meeting


def session(meeting: Meeting) -> ClientSession:
    protocol = meeting.pipe.get_protocol()
    assert isinstance(protocol, ClientSession)
    return protocol


def codes(meeting: Meeting) -> list[int]:
    """Those of the replies behind the login's."""
    return [reply.code for reply in meeting.end().replies[3:]]


def test_the_rest_of_a_command_is_no_command(lab: Rig) -> None:
    meeting = greeted(lab, b"NO", b"OP\r\n", b"\r", b"\n", b"NOOP\r", b"\nQUIT\r\n")
    assert codes(meeting) == [250, 500, 250, 221]


def test_what_ends_a_transaction_ends_a_session_that_drains(lab: Rig) -> None:
    meeting = greeted(lab, MAIL)
    session(meeting).drain()
    meeting.say([RCPT, b"RSET\r\n", b"NOOP\r\n"])
    assert codes(meeting) == [250, 250, 250, 421]


def test_content_that_is_given_up_by_a_command_is_no_longer_in_memory(lab: Rig) -> None:
    meeting = greeted(lab, MAIL, RCPT)
    guard = meeting.keeper.guard
    guard.hold(1)  # somebody else's
    meeting.say([b"BDAT 9\r\n", b"too much."])
    before = guard.is_full()
    meeting.say([b"RSET\r\n"])
    assert (before, guard.is_full()) == (True, False)
    assert codes(meeting) == [250, 250, 250, 250]


def test_nothing_is_answered_behind_the_end(lab: Rig) -> None:
    """Under TLS, what came along with the end is handed on."""
    meeting = greeted(lab)
    ended = session(meeting)
    for seconds in (1, 1_000_000):  # it has waited too long
        ended.check(lab.loop.time() + seconds)
    ended.data_received(b"NOOP\r\n")
    assert codes(meeting) == [421]
