"""One command a segment, as from a client that waits for each reply: what came before still counts."""

import base64
import logging
from collections.abc import Iterator

import pytest

from smtp_router import Message, Reply
from smtp_router.smtp.session import ClientSession
from tests.fuzz.rig import PASSWORD, USER, Meeting, Rig, make_settings, rig
from tests.rawclient import RawReply

LOGIN = b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()) + b"\r\n"
MAIL, RCPT = b"MAIL FROM:<a@a.example>\r\n", b"RCPT TO:<b@b.example>\r\n"
CONTENT = b"a: b\r\n\r\nc\r\n.\r\n"


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


def test_nothing_is_asked_behind_the_end(lab: Rig) -> None:
    """The response to a challenge comes in the very turn in which the client was given up."""
    meeting = lab.meet(make_settings())
    meeting.say([b"EHLO client.example\r\n", b"AUTH LOGIN\r\n"])
    late = session(meeting)
    for seconds in (1, 1_000_000):
        late.check(lab.loop.time() + seconds)
    late.data_received(base64.b64encode(USER.encode()) + b"\r\n")
    assert [reply.code for reply in meeting.end().replies] == [220, 250, 334, 421]


# Whole content


def in_content(lab: Rig, takes_s: float = 0.0, **settings: object) -> Meeting:
    """Behind DATA; a login and a delivery take so long."""
    meeting = lab.meet(make_settings(**settings), takes_s=takes_s)
    meeting.say([b"EHLO client.example\r\n", LOGIN])
    meeting.wait()
    meeting.say([MAIL, RCPT, b"DATA\r\n"])
    return meeting


def test_what_comes_while_a_message_is_routed_is_answered_behind_it(lab: Rig) -> None:
    meeting = in_content(lab, takes_s=1.0)
    meeting.say([CONTENT, b"NOOP\r\n"])
    meeting.wait()
    meeting.say([b"NOOP\r\n"])
    replies = meeting.end().replies
    assert [reply.enhanced for reply in replies[-3:]] == ["2.6.0", "2.0.0", "2.0.0"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("takes_s", [0.0, 1.0])
def test_content_is_in_memory_until_its_reply(
    lab: Rig, takes_s: float, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    meeting = in_content(lab, takes_s, max_message_bytes=20, max_memory_bytes=20)
    guard, route = meeting.keeper.guard, meeting.keeper.route
    guard.hold(20)  # somebody else's
    seen = []

    async def look(message: Message) -> Reply:
        seen.append(guard.is_full())
        reply = await route(message)
        if fails:
            raise RuntimeError
        return reply

    monkeypatch.setattr(meeting.keeper, "route", look)
    monkeypatch.setattr(logging.getLogger("smtp_router.smtp.session"), "disabled", fails)
    meeting.say([CONTENT])
    meeting.wait()
    seen.append(guard.is_full())
    guard.hold(1)
    assert [*seen, guard.is_full()] == [True, False, True]
    last = bytes(meeting.pipe.heard).splitlines()[-1]
    assert last[:3] == (b"451" if fails else b"250")


def test_a_client_that_waited_for_a_reply_has_not_been_idle(lab: Rig) -> None:
    meeting = in_content(lab, takes_s=50.0, idle_s=10)
    lab.loop.settle(1.0)
    meeting.say([CONTENT])
    meeting.wait()
    lab.loop.settle(9.0)
    meeting.say([b"NOOP\r\n"])
    assert codes(meeting) == [250, 250, 354, 250, 250]


def test_a_client_that_closes_is_gone_before_it_is_told(
    lab: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed already, and the session does not know yet."""
    meeting = in_content(lab)
    unheard = []
    monkeypatch.setattr(meeting.keeper, "gone", lambda _, reply: unheard.append(reply.code))
    protocol = session(meeting)
    meeting.pipe.close()
    protocol.data_received(CONTENT)
    assert unheard == [250]
    assert codes(meeting) == [250, 250, 354]


def test_content_that_never_begins_comes_too_slowly(lab: Rig) -> None:
    meeting = in_content(lab, idle_s=300)
    lab.loop.settle(40.0)
    replies = meeting.end().replies
    assert replies[-1] == RawReply(421, (b"4.4.2 The message comes too slowly",))


def test_a_chunk_that_is_announced_is_a_sign_of_life(lab: Rig) -> None:
    meeting = lab.meet(make_settings(idle_s=10))
    meeting.say([b"EHLO client.example\r\n", LOGIN, MAIL, RCPT])
    lab.loop.settle(8.0)
    meeting.say([b"BDAT 3 LAST\r\n"])
    lab.loop.settle(8.0)
    meeting.say([b"abc"])
    assert codes(meeting) == [250, 250, 250]
