"""TLS over a connection in clear text; the far end is by hand, so that records can be cut and broken."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_router.smtp.encryption import FULL_OCTETS, RECORD_OCTETS, Encrypted, encrypt
from tests.certificates import accepting, trusting

MEGABYTES = 12 * bytes(range(256)) * 1024


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client who trusts it."""
    ca = trustme.CA()
    return accepting(ca), trusting(ca)


class Near(asyncio.Protocol):
    """Who speaks over the connection: takes down what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str | None] = []
        self.something = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._take_down(data)

    def eof_received(self) -> bool:
        self._take_down("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_down(type(exc).__name__ if exc else "lost")

    def _take_down(self, what: bytes | str) -> None:
        self.told.append(what)
        self.something.set()

    async def wait(self, what: bytes | str) -> None:
        """Until it was told."""
        while what not in self.told:
            self.something.clear()
            await self.something.wait()


class Far:
    """The other end: a socket, and a client's TLS in memory."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(False)  # noqa: FBT003 - not ours to name
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def records(self, *pieces: bytes) -> bytes:
        """What these are on the wire, each a record of its own, with what was left to say before."""
        for piece in pieces:
            self.tls.write(piece)
        return self._outgoing.read()

    async def send(self, octets: bytes) -> None:
        await self._loop.sock_sendall(self.sock, octets)

    async def shake_hands(self) -> None:
        """All but the last flight, which is left to be sent with the first `records`."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.send(self._outgoing.read())
                await self.take()
            else:
                return

    async def take(self) -> bool:
        """Take what has come; whether there was anything."""
        octets = await self._loop.sock_recv(self.sock, 1 << 18)
        self._incoming.write(octets)
        return bool(octets)

    async def hear(self) -> bytes:
        """The next piece; nothing where the other end has ended as it should (close_notify)."""
        while True:
            try:
                return self.tls.read(1 << 18)
            except ssl.SSLWantReadError:
                if not await self.take():
                    raise ConnectionError("closed without a word") from None

    def close_notify(self) -> bytes:
        """The record that says so."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()


@asynccontextmanager
async def clear_ends(
    client: ssl.SSLContext,
) -> AsyncIterator[tuple[asyncio.Transport, Near, Far]]:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    near = Near()
    transport, _ = await loop.create_connection(lambda: near, sock=ours)
    with theirs:
        yield transport, near, Far(theirs, client)
    transport.abort()


@asynccontextmanager
async def ends(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    *first: bytes,
    then: Callable[[asyncio.Transport, Near], object] = lambda _, __: None,
) -> AsyncIterator[tuple[asyncio.Transport, Near, Far]]:
    """Both ends of an encrypted connection; what the far one says `first` comes with the handshake.

    `then` is called by who has waited for that.
    """
    server, client = contexts
    async with clear_ends(client) as (clear, near, far):

        async def begin() -> asyncio.Transport:
            encrypted = await encrypt(clear, near, server, is_server=True)
            then(encrypted, near)
            return encrypted

        began = asyncio.create_task(begin())
        await far.shake_hands()
        await far.send(far.records(*first))
        yield await began, near, far


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


async def test_what_is_said_is_heard(contexts: Contexts) -> None:
    async with ends(contexts) as (transport, near, far):
        transport.write(b"")
        transport.write(b"220 ")
        transport.writelines([b"he", b"", b"llo\r\n"])
        assert await far.hear() + await far.hear() == b"220 hello\r\n"
        await far.send(far.records(b"EHLO\r\n"))
        await near.wait(b"EHLO\r\n")
        assert transport.get_extra_info("ssl_object").version() == far.tls.version()


async def test_what_comes_with_the_handshake_is_told_when_it_is_known_to_be_over(
    contexts: Contexts,
) -> None:
    def know(_: asyncio.Transport, near: Near) -> None:
        near.told.append("over")

    async with ends(contexts, b"EHLO\r\n", b"NOOP\r\n", then=know) as (_, near, _):
        await near.wait(b"EHLO\r\nNOOP\r\n")
        assert near.told == ["over", b"EHLO\r\nNOOP\r\n"]


@pytest.mark.parametrize("size", [1, RECORD_OCTETS, RECORD_OCTETS + 1, len(MEGABYTES)])
async def test_all_of_it_comes_however_much_it_is(size: int, contexts: Contexts) -> None:
    content = MEGABYTES[:size]
    async with ends(contexts) as (transport, near, far):
        transport.write(content)
        heard = b""
        while len(heard) < size:
            heard += await far.hear()
        assert heard == content
        await far.send(far.records(content))
        while sum(map(len, near.told)) < size:  # type: ignore[arg-type]
            near.something.clear()
            await near.something.wait()
        assert b"".join(near.told) == content  # type: ignore[arg-type]


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=15)
def test_how_records_are_cut_changes_nothing(cuts: list[int]) -> None:
    """Nor does what comes in one segment."""

    async def cut() -> None:
        async with ends(both) as (_, near, far):
            said = far.records(b"MAIL", b" FROM", b":<>\r\n", b"x" * 50)
            last = 0
            for end in (*sorted(cuts), len(said)):
                await far.send(said[last:end])
                last = max(last, end)
                await asyncio.sleep(0)
            while b"".join(near.told) != b"MAIL FROM:<>\r\n" + b"x" * 50:  # type: ignore[arg-type]
                near.something.clear()
                await near.something.wait()

    ca = trustme.CA()
    both = accepting(ca), trusting(ca)
    asyncio.run(asyncio.wait_for(cut(), 10))


async def test_closing_says_so_behind_the_last_word_and_waits_for_nobody(contexts: Contexts) -> None:
    async with ends(contexts) as (transport, near, far):
        transport.write(b"221 bye\r\n")
        transport.close()
        transport.write(b"too late")
        assert transport.is_closing()
        await near.wait("lost")
        assert await far.hear() == b"221 bye\r\n"
        assert await far.hear() == b""
        assert far.tls.pending() == 0


async def test_the_peers_last_word_is_told_and_the_connection_closed(contexts: Contexts) -> None:
    async with ends(contexts) as (_, near, far):
        await far.send(far.records(b"QUIT\r\n") + far.close_notify() + b"and more")
        await near.wait("lost")
        assert near.told == [b"QUIT\r\n", "eof", "lost"]


async def test_a_peer_that_goes_without_a_word_is_gone(contexts: Contexts) -> None:
    async with ends(contexts) as (_, near, far):
        await far.send(far.records(b"DATA\r\n") + far.records(b"never whole")[:-1])
        far.sock.shutdown(socket.SHUT_WR)
        await near.wait("lost")
        assert near.told == [b"DATA\r\n", "eof", "lost"]


async def test_a_record_that_was_touched_ends_the_connection(contexts: Contexts) -> None:
    async with ends(contexts) as (_, near, far):
        touched = bytearray(far.records(b"first") + (second := far.records(b"second")))
        touched[-len(second) // 2] ^= 1
        await far.send(bytes(touched))
        await near.wait("SSLError")
        assert near.told == [b"first", "SSLError"]


async def test_clear_text_is_none_of_it(contexts: Contexts) -> None:
    async with ends(contexts) as (_, near, far):
        await far.send(b"MAIL FROM:<a@a.example>\r\n")
        await near.wait("SSLError")
        assert near.told == ["SSLError"]


async def test_nothing_is_told_while_reading_is_paused(contexts: Contexts) -> None:
    def pause(transport: asyncio.Transport, _: Near) -> None:
        transport.pause_reading()

    async with ends(contexts, b"one", then=pause) as (transport, near, far):
        assert not transport.is_reading()
        await far.send(far.records(b"two"))
        transport.write(b"ping")
        assert await far.hear() == b"ping"
        assert not near.told
        transport.resume_reading()
        await near.wait(b"two")
        assert near.told == [b"one", b"two"]
        assert transport.is_reading()


@pytest.mark.parametrize("pauses", [False, True])
async def test_others_have_their_turn_between_two_full_segments(
    *, pauses: bool, contexts: Contexts
) -> None:
    async with ends(contexts) as (transport, near, far):
        assert isinstance(transport, Encrypted)
        transport.data_received(far.records(MEGABYTES[:FULL_OCTETS]))
        assert near.told == [MEGABYTES[:FULL_OCTETS]]
        assert not transport.is_reading()
        if pauses:
            transport.pause_reading()
        await far.send(far.records(b"more"))
        if pauses:
            for _ in range(10):
                await asyncio.sleep(0)
            assert near.told[1:] == []
            transport.resume_reading()
        await near.wait(b"more")
        transport.data_received(far.records(MEGABYTES[: FULL_OCTETS // 2]))
        assert transport.is_reading()


async def test_who_takes_over_is_told_from_then_on(contexts: Contexts) -> None:
    async with ends(contexts) as (transport, first, far):
        second = Near()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await far.send(far.records(b"250 ok\r\n"))
        await second.wait(b"250 ok\r\n")
        transport.abort()
        await second.wait("lost")
        assert not first.told


async def test_of_a_handshake_that_fails_who_waits_is_told_and_the_peer_hears_why() -> None:
    ca = trustme.CA()
    server, client = accepting(ca), trusting(ca)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with clear_ends(client) as (clear, near, far):
        began = asyncio.create_task(encrypt(clear, near, server, is_server=True))
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            await far.shake_hands()
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            await began
        assert not near.told
        assert clear.is_closing()


async def test_clear_text_is_no_handshake(contexts: Contexts) -> None:
    server, client = contexts
    async with clear_ends(client) as (clear, near, far):
        began = asyncio.create_task(encrypt(clear, near, server, is_server=True))
        await far.send(b"EHLO client.example\r\n")
        with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
            await began
        assert not near.told
        assert clear.is_closing()


@pytest.mark.parametrize("how", ["late", "gone", "cancelled"])
async def test_a_handshake_that_is_not_made_ends(how: str, contexts: Contexts) -> None:
    server, client = contexts
    async with clear_ends(client) as (clear, near, far):
        handshake_s = 0.01 if how == "late" else None
        began = asyncio.create_task(
            encrypt(clear, near, server, is_server=True, handshake_s=handshake_s)
        )
        await asyncio.sleep(0)
        if how == "gone":
            far.sock.shutdown(socket.SHUT_WR)
        elif how == "cancelled":
            began.cancel()
        expected = {
            "late": TimeoutError,
            "gone": ConnectionError,
            "cancelled": asyncio.CancelledError,
        }
        with pytest.raises(expected[how]):
            await began
        assert clear.is_closing()
        assert not near.told
