"""Segments that are taken as a whole: the same comes of them as of octets that are cut off the wire."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtp_router import Message, Reply
from smtp_router.core.address import is_loopback
from smtp_router.smtp.conversation import Conversation
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.steps import Answer, Farewell, LogIn, Receive, Step
from smtp_router.smtp.wire import Wire
from tests.site import OpenSite
from tests.smtp.test_conversation import SETTINGS, reach

USER, REFUSED = "app@app.example", "refused@a.example"
MAX_BYTES, MAX_MEMORY = 40, 200


class Strict(OpenSite):
    """Refuses one sender; whoever comes from an address that is not this machine's is known."""

    def user_at(self, address: str) -> str | None:
        return None if is_loopback(address) else USER

    def mail_refusal(self, user: str, mail_from: str) -> Reply | None:
        del user
        return Reply(code=553, enhanced="5.7.1", text="No") if mail_from == REFUSED else None


class Client:
    """One session, from octets to steps; messages are all taken."""

    def __init__(self, address: str, *, at_once: bool) -> None:
        self.site = Strict(
            replace(
                SETTINGS,
                max_message_bytes=MAX_BYTES,
                max_memory_bytes=MAX_MEMORY,
                max_recipients=2,
                max_transactions=3,
            )
        )
        self.talk = Conversation(Offer(self.site, require_tls=address == "192.0.2.2"), (address, 1234))
        self.wire = Wire()
        self.at_once = at_once
        self.taken = 0
        """How many segments were taken as a whole."""

    def say(self, segment: bytes) -> list[Step]:
        return list(self._follow(self._cut(segment)))

    def _cut(self, segment: bytes) -> Iterator[Step]:
        if self.at_once and self.wire.is_clear:
            step = self.talk.at_once(self.talk, segment)
            if step is not None:
                self.taken += 1
                yield step
                return
        if self.talk.awaits_content:
            self.wire.start_content(self.talk.begin_content())
        self.wire.feed(segment)
        while (event := self.wire.next_event()) is not None:
            yield self.talk.on(event)

    def _follow(self, steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            if isinstance(step, LogIn):
                yield self.talk.logged_in(USER)
                continue
            if isinstance(step, Receive):
                self.wire.start_chunk(step.octets, step.body)
                yield Receive(step.octets, None)
                continue
            yield step
            if isinstance(step, Farewell):
                return
            if self.talk.awaits_content and self.wire.buffered:
                self.wire.start_content(self.talk.begin_content())


COMMANDS = [
    *(b"EHLO x", b"ehlo x ", b"HELO x", b"AUTH PLAIN", b"RSET", b"NOOP x", b"QUIT", b"BDAT 3", b"XYZZY"),
    *(
        b"MAIL FROM:<a@a.example>",
        b"mail FROM:<a@a.example> size=40",
        b"MAIL FROM:<a@a.example> SIZE=41",
    ),
    *(b"MAIL FROM:<> BODY=8BITMIME", b"MAIL FROM:<a@a.example> SMTPUTF8", b"Mail From:<%b>" % b"a@b"),
    *(b"MAIL FROM:<%b>" % REFUSED.encode(), b"MAIL FROM:<a@a..b>", b"MAIL FROM:<a@a.example>\0"),
    *(b"RCPT TO:<b@b.example>", b"rcpt TO:<b@b.example>", b"RCPT TO:<b@b.example> NOTIFY=NEVER"),
    *(b"RCPT TO:<>", b"RCPT TO:<c@c.example>x", b"RCPT TO:<%b@b.example>" % (65 * b"c")),
    *(b"DATA", b"data", b"DATA x", b"DATA\r", b"DATA\n"),
]
CONTENT = st.lists(
    st.sampled_from(
        [b"a: b\r\n", b"\r\n", b".", b"..", b"c\r\n", b"\n", b"\0", b"\r\n.\r\n", 40 * b"x"]
    ),
    max_size=5,
).map(b"".join)
MAIL_FROM = b"MAIL FROM:<a@a.example>\r\n"
SEGMENTS = st.lists(
    st.one_of(
        st.sampled_from(COMMANDS).map(lambda line: line + b"\r\n"),
        CONTENT.map(lambda content: content + b"\r\n.\r\n"),
        CONTENT.map(lambda content: b"a: b\r\n\r\n" + content + b"\r\n.\r\n"),
        st.sampled_from(
            [b"NO", b"OP\r\n", b"NOOP\r\nNOOP\r\n", b"\0" + 12_286 * b"x" + b"\r\n", b"\r\n"]
        ),
    ),
    max_size=8,
)
KNOWN = [b"EHLO x\r\n", b"AUTH PLAIN\r\n"]
OPEN = [*KNOWN, MAIL_FROM, b"RCPT TO:<b@b.example>\r\n"]
BEGUN = [*OPEN, b"DATA\r\n"]


@given(
    st.sampled_from([[], KNOWN, KNOWN, OPEN, OPEN, BEGUN, BEGUN]),
    SEGMENTS,
    st.sampled_from(["127.0.0.1", "127.0.0.1", "192.0.2.1", "192.0.2.2"]),
    st.integers(-1, 8),
)
@settings(max_examples=400)
@example([], [b"EHLO x\r\n", b"MAIL FROM:<a@a.example>\r\n"], "192.0.2.2", -1)
@example(KNOWN, 4 * [*OPEN[2:], b"DATA\r\n", b"a\r\n.\r\n"], "127.0.0.1", -1)
@example(OPEN, [b"RCPT TO:<b@b.example>\r\n", b"RCPT TO:<b@b.example>\r\n"], "127.0.0.1", -1)
@example(BEGUN, [b"a: b\r\n\r\nc\r\n.\r\n"], "127.0.0.1", 5)
@example(BEGUN, [b"a: b\r\n\r\n\n\r\n.\r\n"], "127.0.0.1", -1)
@example(BEGUN, [b"a: b\r\n\r\n\0\r\n.\r\n"], "127.0.0.1", -1)
@example(KNOWN, [MAIL_FROM, b"DATA\r\n"], "127.0.0.1", -1)
@example(KNOWN, [b"\0" + 12_286 * b"x" + b"\r\n"], "127.0.0.1", -1)
@example(OPEN, [b"DATA\r\n"], "127.0.0.1", 4)
def test_the_same_comes_of_segments_that_are_taken_as_a_whole(
    before: list[bytes], segments: list[bytes], address: str, full_from: int
) -> None:
    """Every step, in whatever state, with the router full from some segment on."""
    whole, cut = (Client(address, at_once=at_once) for at_once in (True, False))
    for number, segment in enumerate((*before, *segments)):
        if number == full_from:
            for client in (whole, cut):
                client.site.guard.hold(MAX_MEMORY + 1)
        steps = whole.say(segment)
        assert steps == cut.say(segment)
        assert (whole.talk.in_transaction, whole.talk.held_octets) == (
            cut.talk.in_transaction,
            cut.talk.held_octets,
        )
        if steps and isinstance(steps[-1], Farewell):
            return


@pytest.mark.parametrize("lower", [False, True])
def test_what_is_usual_is_taken_as_a_whole(*, lower: bool) -> None:
    client = Client("127.0.0.1", at_once=True)
    for segment in OPEN:
        client.say(segment[:4].lower() + segment[4:] if lower else segment)
    (step,) = client.say(b"data\r\n" if lower else b"DATA\r\n")
    assert isinstance(step, Answer)
    assert step.octets.startswith(b"354 ")
    (step,) = client.say(b"Subject: x\r\n\r\n1.5\r\n.\r\n")
    assert isinstance(step, Message)
    assert client.taken == 6


@pytest.mark.parametrize(("amid", "code"), [(False, b"250 "), (True, b"503 ")])
def test_a_login_leaves_a_transaction_as_it_is(*, amid: bool, code: bytes) -> None:
    """Whose network is a user's need not log in, but may."""
    client = Client("192.0.2.1", at_once=True)
    client.site.settings = replace(client.site.settings, allow_plaintext_auth=True)
    for segment in (b"EHLO x\r\n", *amid * [MAIL_FROM], b"AUTH PLAIN\r\n"):
        client.say(segment)
    (step,) = client.say(MAIL_FROM)
    assert isinstance(step, Answer)
    assert step.octets.startswith(code)
    assert client.say(b"RCPT TO:<b@b.example>\r\n") == [Answer(b"250 2.1.5 Recipient OK\r\n")]


@pytest.mark.parametrize("opening", [[], [b"HELO x\r\n"], KNOWN])
@pytest.mark.parametrize("quits", [b"QUIT\r\n", b"quit\r\n", b"Quit\r\n", b"QUIT x\r\n"])
def test_who_quits_hears_the_same_in_whatever_way(opening: list[bytes], quits: bytes) -> None:
    whole, cut = (Client("192.0.2.1", at_once=at_once) for at_once in (True, False))
    for segment in opening:
        assert whole.say(segment) == cut.say(segment)
    assert whole.say(quits) == cut.say(quits)


def test_content_that_is_refused_is_cut_and_so_is_what_is_behind_it() -> None:
    client = Client("127.0.0.1", at_once=True)
    for segment in BEGUN:
        client.say(segment)
    (step,) = client.say(41 * b"x" + b"\r\n.\r\n")
    assert isinstance(step, Answer)
    assert step.octets.startswith(b"552 5.3.4 ")
    assert client.say(b"NOOP\r\n") == [Answer(b"250 2.0.0 OK\r\n")]


def test_content_that_comes_whole_may_go_in_circles_as_well() -> None:
    talk = reach("RCPT", max_bytes=100_000)
    talk.on(b"DATA")
    field = b"Received: x\r\n"
    assert talk.at_once(talk, 100 * field + b"\r\nhello\r\n.\r\n") is None
    assert isinstance(talk.at_once(talk, 99 * field + b"\r\nhello\r\n.\r\n"), Message)


@pytest.mark.parametrize(("circles", "code"), [(99, None), (100, b"554 ")])
@pytest.mark.parametrize("field", [b"Received:\n", b"Received:\r\n", b"Received: x\r\n"])
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\nhello\r\n", 2_000 * b"\r\n"])
def test_the_shortest_fields_count_as_well(
    field: bytes, circles: int, code: bytes | None, body: bytes
) -> None:
    """However short a header that goes in circles can be, as a whole and in pieces."""
    content = circles * field
    content = content.removesuffix(b"\n").removesuffix(b"\r") + b"\r\n" + body
    for at_once in (True, False):
        client = Client("127.0.0.1", at_once=at_once)
        client.site.settings = replace(
            client.site.settings,
            max_message_bytes=10_000,
            max_memory_bytes=10_000,
            bare_newlines="accept",
        )
        client.site.guard.follow(client.site.settings)
        for segment in BEGUN:
            client.say(segment)
        (step,) = client.say(content + b".\r\n")
        if code is None:
            assert isinstance(step, Message)
        else:
            assert isinstance(step, Answer)
            assert step.octets.startswith(code)
