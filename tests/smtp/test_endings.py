"""However a session ends: nobody counts it any more, and nothing of it is left in memory."""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from smtp_router import Message, Reply
from smtp_router.smtp import session
from tests.desk import LOOPS, TAKEN, Desk, Loop
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER

A, B = b"a@a.example", b"b@b.example"
LINES = 10_000 * b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n"
EHLO = b"EHLO client.example"


def plain(password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{password}".encode()) + b"\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with Desk(request.param) as desk:
        yield desk


@pytest.mark.parametrize("last", [plain(PASSWORD), plain("wrong"), b"AUTH LOGIN\r\n", b"QUIT\r\n"])
@pytest.mark.parametrize("leave", [RawClient.shutdown_write, RawClient.reset], ids=["end", "reset"])
def test_a_client_gone_as_soon_as_it_has_spoken_is_counted_off(
    desk: Desk, last: bytes, leave: Callable[[RawClient], None]
) -> None:
    """Where an answer cannot be written, that is known before the first step of what comes next."""
    with desk.connect() as client:
        assert client.command(EHLO).code == 250
        with desk.held():
            client.send(b"NOOP\r\n" + last)
            leave(client)
        desk.counts.wait(lambda counts: counts.sessions == 0)


# Content in memory

Way = Callable[[Desk, RawClient], None]


def begin_data(desk: Desk, client: RawClient, header: bytes = b"") -> None:
    """Send much of a message, and not its end."""
    assert client.envelope(A, [B]).code == 250
    client.wire(header + LINES)
    desk.counts.wait(lambda counts: counts.octets >= len(LINES) - 4)


def begin_bdat(desk: Desk, client: RawClient, octets: int = len(LINES)) -> None:
    """Send a chunk, or some of it."""
    assert client.envelope(A, [B]).code == 250
    client.send(b"BDAT %d\r\n" % octets + LINES)
    if octets == len(LINES):
        assert client.reply().code == 250
    desk.counts.wait(lambda counts: counts.octets == len(LINES))


def delivered(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    client.send(b".\r\n")
    assert client.reply().code == 250


def delivered_by_bdat(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    client.send(b"BDAT 0 LAST\r\n")
    assert client.reply().code == 250


def refused_by_the_router(desk: Desk, client: RawClient) -> None:
    desk.answer = lambda _: Reply(code=554, enhanced="5.0.0", text="No")
    begin_data(desk, client)
    client.send(b".\r\n")
    assert client.reply().code == 554


def failed(desk: Desk, client: RawClient) -> None:
    def fail(_: Message) -> Reply:
        raise RuntimeError

    desk.answer = fail
    begin_data(desk, client)
    client.send(b".\r\n")
    assert client.reply().code == 451


def with_bare_newlines(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    client.send(b"a\nb\r\n.\r\n")
    assert client.reply().code == 550


def going_in_circles(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client, 200 * b"Received: x\r\n")
    client.send(b".\r\n")
    assert client.reply().code == 554


def too_big(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    for _ in range(3):
        client.send(LINES)
    desk.counts.wait(lambda counts: counts.octets == 0)  # at once, not at the end
    client.send(b".\r\n")
    assert client.reply().code == 552


def too_big_by_bdat(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    client.send(b"BDAT 1000000\r\n" + 1_000_000 * b"x")
    assert client.reply().code == 552


def chunk_refused(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    client.send(b"BDAT 1000000 LAST\r\n" + 1_000_000 * b"x")
    assert client.reply().code == 552


def rset(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    assert client.command(b"RSET").code == 250


def greeted_again(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    assert client.command(EHLO).code == 250


@pytest.mark.parametrize(
    "way",
    [
        *(delivered, delivered_by_bdat, refused_by_the_router, failed, with_bare_newlines),
        *(going_in_circles, too_big, too_big_by_bdat, chunk_refused, rset, greeted_again),
    ],
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize("loop", LOOPS)
def test_behind_a_transaction_nothing_of_it_is_in_memory(way: Way, loop: Loop) -> None:
    """Though the session goes on."""
    with Desk(loop, max_message_bytes=1_000_000) as desk, desk.client() as client:
        way(desk, client)
        desk.counts.wait(lambda counts: counts.octets == 0)
        desk.answer = lambda _: TAKEN
        assert client.command(b"RSET").code == 250
        assert client.transaction(A, [B], b"again\r\n").code == 250
        desk.counts.wait(lambda counts: counts.octets == 0)


def gone(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    client.close()


def reset(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    client.reset()


def ended(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    client.shutdown_write()
    assert client.at_eof()


def gone_between_chunks(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    client.close()


def gone_in_a_chunk(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client, 2 * len(LINES))
    client.close()


def timed_out(desk: Desk, client: RawClient) -> None:
    begin_data(desk, client)
    assert client.reply().code == 421


def quitting(desk: Desk, client: RawClient) -> None:
    begin_bdat(desk, client)
    assert client.command(b"QUIT").code == 221


def gone_while_it_is_routed(desk: Desk, client: RawClient) -> None:
    routing, go_on = threading.Event(), threading.Event()

    def answer(_: Message) -> Reply:
        routing.set()
        assert go_on.wait(10)
        return TAKEN

    desk.answer = answer
    begin_data(desk, client)
    client.send(b".\r\n")
    assert routing.wait(10)
    assert desk.counts.octets == len(LINES)
    client.close()
    go_on.set()


@pytest.mark.parametrize(
    "way",
    [
        *(gone, reset, ended, gone_between_chunks, gone_in_a_chunk, timed_out, quitting),
        gone_while_it_is_routed,
    ],
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize("loop", LOOPS)
def test_behind_a_session_nothing_of_it_is_in_memory_or_counted(way: Way, loop: Loop) -> None:
    idle = {"idle_s": 0.5} if way is timed_out else {}
    with Desk(loop, **idle) as desk, desk.client() as client:
        way(desk, client)
        desk.counts.wait(lambda counts: (counts.sessions, counts.octets) == (0, 0))


def test_behind_a_router_that_stops_nothing_is_in_memory_or_counted() -> None:
    with Desk() as desk, desk.client() as one, desk.client() as other:
        begin_data(desk, one)
        assert other.envelope(A, [B]).code == 250
    assert (desk.counts.sessions, desk.counts.octets) == (0, 0)


# More than there is room for


def test_with_too_much_content_in_memory_more_is_refused_until_there_is_room() -> None:
    with (
        Desk(max_memory_bytes=len(LINES), max_message_bytes=len(LINES)) as desk,
        desk.client() as one,
        desk.client() as other,
        desk.client() as third,
    ):
        begin_data(desk, one)
        assert other.envelope(A, [B]).code == 250
        other.wire(b"more\r\n")
        desk.counts.wait(lambda counts: counts.octets > len(LINES) - 4)
        assert third.envelope(A, [B]).code == 250
        other.send(b"even more\r\n")  # above the limit, from here on
        desk.counts.wait(lambda counts: counts.octets > len(LINES))
        for _ in range(3):
            reply = third.command(b"DATA")
            assert (reply.code, reply.enhanced) == (452, "4.3.1")
        other.send(b".\r\n")
        reply = other.reply()
        assert (reply.code, reply.enhanced) == (452, "4.3.1")
        one.close()
        desk.counts.wait(lambda counts: counts.octets == 0)
        third.wire(b"now\r\n.\r\n")
        assert third.reply().code == 250
        assert other.transaction(A, [B], b"again\r\n").code == 250
    assert [message.content for message in desk.messages] == [b"now\r\n", b"again\r\n"]


@pytest.mark.parametrize("by", ["DATA", "BDAT"])
def test_content_that_finds_no_room_is_dropped_as_it_comes_and_refused_at_its_end(by: str) -> None:
    """It is never more than there is room for, and what a network gives at once."""
    room = 1_000_000
    with Desk() as desk, desk.client() as client:
        desk.change(max_memory_bytes=room)
        assert client.envelope(A, [B]).code == 250
        if by == "DATA":
            client.wire(20 * LINES + b".\r\n")
        else:
            client.send(b"BDAT %d LAST\r\n" % (20 * len(LINES)) + 20 * LINES)
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (452, "4.3.1")
        assert room < desk.counts.most_octets <= room + 2**18 + 2**15
        desk.counts.wait(lambda counts: counts.octets == 0)
        assert client.transaction(A, [B], b"again\r\n").code == 250


# A client that does not read


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("drains", [True, False])
def test_a_client_that_never_reads_its_good_bye_is_cut_off(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, *, drains: bool
) -> None:
    monkeypatch.setattr(session, "LINGER_S", 0.2)
    with Desk(loop, idle_s=10 if drains else 0.5) as desk, desk.connect() as client:
        with suppress(ConnectionError):  # it may be over soon
            client.fill(b"HELP\r\n")
        if drains:
            desk.drain()
        desk.counts.wait(lambda counts: counts.sessions == 0)
