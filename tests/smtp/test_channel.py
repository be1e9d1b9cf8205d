"""A connection that is ready for mail, against a peer that is a bare socket."""

import asyncio
import itertools
import math
import socket
import ssl
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Reply, Stage
from smtp_router.config.settings import Timeouts
from smtp_router.core.message import on_the_wire
from smtp_router.smtp.alarm import Alarm
from smtp_router.smtp.blocks import BLOCK_OCTETS
from smtp_router.smtp.channel import QUIT_S, Channel, Result
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.parameters import Peer
from tests.script import HANG
from tests.smtp.sending import BIG, Sending, handover, until
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

AGREES = (b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n", b"354 go\r\n")


class Owner:
    """Whoever lends the connection."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ready(self, channel: Channel) -> None:
        del channel
        self.heard.append("ready")

    def gone(self, channel: Channel) -> None:
        del channel
        self.heard.append("gone")


class Line:
    """A channel and the socket at its other end."""

    def __init__(self, peer: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = peer
        self.owner = Owner()
        self.channels: set[Channel] = set()
        self.channel = Channel(Peer(), self.owner, Alarm(self.loop), self.channels, Outbox(self.loop))

    def begin(
        self,
        *,
        seconds: float = 5,
        deadline_s: float = 5,
        on_final: Callable[[], None] = lambda: None,
        content: bytes | Sequence[bytes] = b"hello\r\n.\r\n",
    ) -> Result:
        now = self.loop.time()
        end = now + deadline_s
        asked = handover(content=content, on_final=on_final, until=min(now + seconds, end), deadline=end)
        return self.channel.begin(asked, now)

    async def hears(self, octets: bytes) -> None:
        """The peer reads so much."""
        heard = b""
        while len(heard) < len(octets):
            more = await self.loop.sock_recv(self.peer, len(octets) - len(heard))
            assert more
            heard += more
        assert heard == octets

    async def say(self, octets: bytes) -> None:
        await self.loop.sock_sendall(self.peer, octets)


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)  # noqa: FBT003 - not ours to name
        made = Line(theirs)
        transport, _ = await made.loop.create_connection(asyncio.Protocol, sock=ours)
        made.channel.take_over(transport)
        yield made
        made.channel.close()
        await made.channel.closed()
        assert not made.channels
        assert made.owner.heard.count("gone") == 1


def needs_flow_control() -> None:
    """Skip where asyncio's own loop has none: `writelines` does not pause (CVE-2024-12254).

    uvloop, which the router runs on, has it with every Python.
    """
    lacks_it = (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)
    if lacks_it and isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        pytest.skip("this Python's asyncio has no flow control (CVE-2024-12254)")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_everything_goes_out_in_two_writes_and_comes_back_in_two() -> None:
    async with line() as made:
        result = made.begin()
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES))
        await made.hears(b"hello\r\n.\r\n")
        await made.say(b"250 2.0.0 taken\r\n")
        assert isinstance(await result, Delivered)
        assert made.owner.heard == ["ready"]


@pytest.mark.parametrize("size", [10, 200_000])
async def test_that_the_dot_goes_out_is_told_once_and_right_before(size: int) -> None:
    content = (size * b"x", b"\r\n.\r\n")
    async with line() as made:
        sent: list[bytes] = []
        calls = 0

        def on_final() -> None:
            nonlocal calls
            calls += 1
            with suppress(BlockingIOError):
                while True:
                    sent.append(made.peer.recv(1_000_000))

        result = made.begin(content=content, on_final=on_final)
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES))
        await turns(100)
        assert calls == 1
        before = b"".join(sent)
        assert not before.endswith(b".\r\n")
        await made.hears(b"".join(content)[len(before) :])
        await made.say(b"250 2.0.0 taken\r\n")
        assert isinstance(await result, Delivered)


async def test_if_nobody_can_be_told_the_dot_does_not_go_out() -> None:
    def on_final() -> None:
        raise OSError("disk full")

    async with line() as made:
        result = made.begin(on_final=on_final)
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES))
        with pytest.raises(OSError, match="disk full"):
            await result
        assert await made.loop.sock_recv(made.peer, 100) == b""
        assert made.owner.heard == ["gone"]


async def told(segments: Iterable[bytes]) -> tuple[Outcome | None, list[str]]:
    """The outcome when these segments come in answer to it all."""
    async with line() as made:
        result = made.begin()
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        for segment in segments:
            await made.say(segment)
            await turns(5)
        return await result, list(made.owner.heard)


async def test_replies_may_come_in_any_segments() -> None:
    octets = b"".join(AGREES) + b"250 2.0.0 taken\r\n"
    at_354 = octets.index(b"go\r\n") + 4
    for cut in range(1, len(octets)):
        if cut > at_354:
            segments = [octets[:at_354], octets[at_354:cut], octets[cut:]]
        else:
            segments = [octets[:cut], octets[cut:at_354], octets[at_354:]]
        outcome, heard = await told(filter(None, segments))
        assert isinstance(outcome, Delivered), segments
        assert heard == ["ready"]
    outcome, _ = await told(octets[at : at + 1] for at in range(len(octets)))
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize("stray", [b"250 2.0.0 taken\r\n", b"250 2.0.0 ta", b"\r\n", b"5"])
async def test_anything_behind_the_354_in_its_segment_keeps_the_content_back(stray: bytes) -> None:
    async with line() as made:
        result = made.begin()
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES) + stray)
        outcome = await result
        assert isinstance(outcome, Deferred)
        assert outcome.stage is Stage.DATA
        assert await made.loop.sock_recv(made.peer, 100) == b""
        assert made.owner.heard == ["gone"]


@pytest.mark.parametrize("more", [b"2", b"250 2.0.0 and more\r\n", b"421 4.3.2 bye\r\n"])
async def test_anything_behind_the_last_reply_ends_the_connection_not_the_delivery(more: bytes) -> None:
    outcome, heard = await told([b"".join(AGREES), b"250 2.0.0 taken\r\n" + more])
    assert isinstance(outcome, Delivered)
    assert heard == ["gone"]


async def test_an_outcome_is_told_before_all_replies_have_come() -> None:
    async with line() as made:
        result = made.begin()
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"250 2.1.0 ok\r\n550 5.1.1 no\r\n")
        outcome = await result
        assert outcome is not None
        assert outcome.stage is Stage.RCPT
        assert made.owner.heard == []
        await made.say(b"503 5.5.1 no recipient\r\n")
        await made.hears(b"RSET\r\n")
        assert made.owner.heard == []
        await made.say(b"250 2.0.0 ok\r\n")
        await turns(20)
        assert made.owner.heard == ["ready"]


async def test_what_is_still_owed_has_a_limit_of_time() -> None:
    async with line() as made:
        result = made.begin(seconds=0.1)
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"550 5.1.0 no\r\n")
        await result
        assert await made.loop.sock_recv(made.peer, 100) == b""
        assert made.owner.heard == ["gone"]


async def test_the_dot_has_to_be_out_in_time_whoever_does_not_answer_or_read() -> None:
    needs_flow_control()
    async with line() as made, asyncio.timeout(2):
        assert await made.begin(seconds=0.1) == Deferred(stage=Stage.MAIL, reason="timed out")
    async with line() as made, asyncio.timeout(2):
        result = made.begin(seconds=0.1, content=BODY)
        await made.say(b"".join(AGREES))
        assert await result == Deferred(stage=Stage.DATA, reason="timed out")


async def test_a_connection_is_not_used_again_if_nobody_waits_any_more_for_what_has_just_come() -> None:
    for reply in (b"250 2.0.0 taken\r\n", b"250-2.0.0 taken\r\n250 2.0.0 indeed\r\n"):
        async with line() as made:
            result = made.begin()
            await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
            await made.say(b"".join(AGREES))
            await made.hears(b"hello\r\n.\r\n")
            result.cancel()
            made.channel.data_received(reply)
            await made.hears(b"QUIT\r\n")
            assert made.owner.heard == ["gone"]
            made.owner.heard.clear()


async def test_what_ends_a_reply_of_two_lines_is_not_taken_for_all_of_it() -> None:
    async with line() as made:
        result = made.begin()
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES))
        await made.hears(b"hello\r\n.\r\n")
        for segment in (b"250-2.0.0 taken\r\n", b"250 2.0.0 indeed\r\n"):
            made.channel.data_received(segment)
        assert await result == Delivered(reply=Reply(code=250, enhanced="2.0.0", text="taken indeed"))


async def test_once_the_dot_is_out_every_reply_may_come_until_the_deadline() -> None:
    async with line() as made:
        now = made.loop.time()
        asked = handover(("a@b.example", "c@b.example"), b".\r\n", lmtp=True, until=now + 0.2)
        result = made.channel.begin(asked, now)
        await made.say(3 * b"250 2.0.0 ok\r\n")
        await made.hears(b"MAIL\r\nRCPT\r\nRCPT\r\nDATA\r\n")
        await made.say(b"354 go\r\n")
        await made.hears(b".\r\n")
        await made.say(b"250 2.0.0 taken\r\n")
        assert not (await asyncio.wait({result}, timeout=0.4))[0]
        await made.say(b"250 2.0.0 taken\r\n")
        assert isinstance(await result, Delivered)


@pytest.mark.parametrize(
    ("pipelining", "waits"),
    [
        (True, [(b"".join(AGREES), 400)]),
        (False, [(b"250 ok\r\n", 200), (b"250 ok\r\n", 300), (b"354 go\r\n", 400)]),
    ],
)
async def test_the_time_for_a_reply_begins_when_it_is_asked_for(
    waits: list[tuple[bytes, float]], *, pipelining: bool
) -> None:
    timeouts = Timeouts(mail_s=100, rcpt_s=200, data_s=300, final_s=400)
    async with line() as made:
        began = made.loop.time() - 50
        asked = handover(content=b".\r\n", pipelining=pipelining, timeouts=timeouts)
        result = made.channel.begin(asked, began)
        assert made.channel.check(began) == began + 100
        for replies, limit_s in waits:
            now = made.loop.time()
            made.channel.data_received(replies)
            assert now + limit_s <= made.channel.check(now) <= made.loop.time() + limit_s
        assert not result.done()


async def test_no_reply_to_the_dot_by_the_deadline_is_in_doubt() -> None:
    async with line() as made:
        result = made.begin(deadline_s=0.1)
        await made.hears(b"MAIL\r\nRCPT\r\nDATA\r\n")
        await made.say(b"".join(AGREES))
        assert await result == InDoubt(reason="timed out")


@pytest.mark.parametrize("octets", [b"421 4.4.2 bye\r\n", b"250 2.0.0 hello\r\n", b"4", b"\0", b""])
async def test_whatever_comes_between_two_messages_ends_it(octets: bytes) -> None:
    """Also in a segment of its own, and the end of file."""
    async with line() as made:
        if octets:
            await made.say(octets)
        else:
            made.peer.shutdown(socket.SHUT_WR)
        await made.channel.closed()
        assert await made.loop.sock_recv(made.peer, 100) == b""
        assert made.owner.heard == ["gone"]


async def test_quit_is_said_and_the_connection_closed_on_whatever_comes() -> None:
    for answer in (b"221 2.0.0 bye\r\n", b"2", b"554 5.0.0 no\r\n"):
        async with line() as made:
            made.channel.quit()
            await made.hears(b"QUIT\r\n")
            await made.say(answer)
            async with asyncio.timeout(QUIT_S / 2):
                await made.channel.closed()


async def test_a_connection_that_is_lost_meanwhile_is_told_when_it_is_to_be_used() -> None:
    async with line() as made:
        made.channel.close()
        assert await made.begin() == Deferred(stage=Stage.MAIL, reason="connection lost")


async def test_one_that_was_lost_before_it_was_taken_over_is_told_as_well() -> None:
    loop = asyncio.get_running_loop()
    channel = Channel(Peer(), Owner(), Alarm(loop), set(), Outbox(loop))
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.abort()
        await turns(5)
        channel.take_over(transport)
        outcome = await channel.begin(handover(), loop.time())
        assert outcome == Deferred(stage=Stage.MAIL, reason="connection lost")


@pytest.mark.parametrize("mode", ["clear", "starttls", "implicit"])
async def test_content_that_is_not_taken_is_not_piled_up(
    mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    message = BIG.replace(content=on_the_wire(BIG))  # in pieces, as one that has come in
    with Witness({"content": HANG}, tls=tls, implicit_tls=mode == "implicit") as witness:
        sending.settings(witness)  # what that imports is no message's
        sent = asyncio.create_task(sending.to(witness, message))
        tracemalloc.start()
        try:
            await until(witness, lambda: witness.hanging)
            await turns(1000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < BIG.size / 10
        sent.cancel()
        await asyncio.wait({sent})


class Rushing(asyncio.Transport):
    """To a downstream that takes whatever it gets at once.

    Args:
        octets: as many, and it is lost.
    """

    def __init__(self, octets: float = math.inf) -> None:
        super().__init__()
        self.left = octets
        self.turns = [b""]
        """What was written in each turn."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.turns[-1] += bytes(data)
        self.left -= len(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.left <= 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def abort(self) -> None:
        pass


BODY = (b"Subject: big\r\n\r\n", 10**6 * b"x", b"\r\n.\r\n")


def rush(transport: Rushing) -> tuple[Channel, Result]:
    """A channel that begins to send content."""
    loop = asyncio.get_running_loop()
    channel = Channel(Peer(), Owner(), Alarm(loop), set(), Outbox(loop))
    channel.take_over(transport)
    now = loop.time()
    result = channel.begin(handover(content=BODY, until=now + 5, deadline=now + 5), now)
    channel.data_received(b"".join(AGREES))
    return channel, result


async def test_no_message_holds_the_loop_whoever_takes_it_at_once() -> None:
    transport = Rushing()
    channel, result = rush(transport)
    for _ in range(20):
        transport.turns.append(b"")
        await asyncio.sleep(0)
    assert b"".join(transport.turns) == b"MAIL\r\nRCPT\r\nDATA\r\n" + b"".join(BODY)
    assert max(map(len, transport.turns)) <= 256 * 1024 + 100
    channel.data_received(b"250 2.0.0 taken\r\n")
    assert isinstance(await result, Delivered)


async def test_a_connection_that_is_lost_before_the_last_block_leaves_no_doubt() -> None:
    transport = Rushing(len(b"".join(BODY)) - BLOCK_OCTETS)
    channel, result = rush(transport)
    await turns(20)
    assert not transport.turns[-1].endswith(b".\r\n")
    channel.connection_lost(None)
    assert isinstance(await result, Deferred)


@pytest.mark.parametrize("mode", ["clear", "starttls", "implicit"])
async def test_content_of_any_size_arrives_as_it_is(
    mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    with Witness(tls=tls, implicit_tls=mode == "implicit") as witness:
        for size in (65_000, 65_536, 200_000, 5_000_000):
            line_ = bytes(itertools.islice(itertools.cycle(range(33, 127)), 94)) + b"\r\n"
            content = b"Subject: x\r\n\r\n" + (size // 96) * line_
            outcome = await sending.to(witness, BIG.replace(content=content))
            assert isinstance(outcome, Delivered)
            assert witness.deliveries[-1].body_below_received == content
        assert witness.connections == 1
