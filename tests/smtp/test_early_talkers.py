"""Clients that speak before the banner: they are refused, and nothing that they said is done."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from smtp_router.smtp.sockets import has_spoken
from tests.certificates import trusting, write_certificate
from tests.desk import LOOPS, Desk, Loop
from tests.rawclient import RawClient

EARLY = [b"EHLO client.example\r\n", b"\r\n", b"x", b"GET / HTTP/1.1\r\n", 200_000 * b"NOOP\r\n"]
EHLO = b"EHLO client.example\r\n"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("certificate") / "cert.pem"
    write_certificate(ca, path)
    return str(path)


def listen(tls: str, certificate: str) -> list[dict[str, object]]:
    return [{"addr": "127.0.0.1:0", "tls": tls, "tls_cert": certificate}]


def check_refused(desk: Desk, client: RawClient) -> None:
    reply = client.reply()
    assert (reply.code, reply.enhanced) == (421, "4.7.0")
    assert client.at_eof()
    desk.counts.wait(lambda counts: counts.sessions == 0)


# Whether somebody has spoken


@contextmanager
def pair(kind: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    if kind == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            theirs = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_octets_that_wait_to_be_read_are_seen_and_stay(kind: str) -> None:
    with pair(kind) as (ours, theirs):
        assert not has_spoken(ours.fileno())
        theirs.sendall(b"x")
        assert ours.recv(10, socket.MSG_PEEK) == b"x"
        assert has_spoken(ours.fileno())
        assert ours.recv(10) == b"x"
        assert not has_spoken(ours.fileno())
        theirs.shutdown(socket.SHUT_WR)
        assert ours.recv(10, socket.MSG_PEEK) == b""
        assert not has_spoken(ours.fileno())


def test_of_a_connection_that_is_gone_nothing_is_waited_for() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    os.close(ours)
    assert not has_spoken(ours)
    assert not has_spoken(-1)


# In clear text


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("octets", EARLY, ids=len)
@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_in_clear_text_an_early_talker_hears_to_wait_and_nothing_else(
    loop: Loop, octets: bytes, tls: str, certificate: str
) -> None:
    more = {"listen": listen(tls, certificate)} if tls == "starttls" else {}
    with Desk(loop, **more) as desk:
        with desk.held():
            client = desk.connect(read_banner=False)
            client.send(octets[:100_000])
        with client:
            check_refused(desk, client)
        with desk.connect() as client:  # which waits for it
            assert client.command(EHLO[:-2]).code == 250


def test_behind_a_proxy_its_header_is_no_early_talk_and_what_comes_with_it_is() -> None:
    header = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n"
    with Desk(listen=[{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1/32"]}]) as desk:
        with desk.connect(read_banner=False) as client:
            client.send(header)
            assert client.reply().code == 220
            assert client.command(EHLO[:-2]).code == 250
            assert client.command(b"QUIT").code == 221
        with desk.connect(read_banner=False) as client:
            client.send(header + EHLO)
            check_refused(desk, client)


# Under TLS


class Handshake:
    """A client's TLS, of which every octet passes through our hands."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def finish_and_say(self, octets: bytes) -> None:
        """Make the handshake; its last words and these octets go out in one segment."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._outgoing.read())
                self._incoming.write(self._sock.recv(65_536))
            else:
                self._tls.write(octets)
                self._sock.sendall(self._outgoing.read())
                return

    def heard(self) -> bytes:
        """All that is said until the end."""
        heard = b""
        while True:
            try:
                octets = self._tls.read(65_536)
            except ssl.SSLWantReadError:
                received = self._sock.recv(65_536)
                if not received:
                    return heard
                self._incoming.write(received)
            else:
                if not octets:
                    return heard
                heard += octets


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("octets", EARLY[:-1], ids=len)
def test_under_implicit_tls_what_comes_with_the_handshake_is_early(
    loop: Loop, octets: bytes, certificate: str, ca: trustme.CA
) -> None:
    with Desk(loop, listen=listen("implicit", certificate)) as desk:
        with desk.connect(read_banner=False) as client:
            handshake = Handshake(client.sock, trusting(ca))
            handshake.finish_and_say(octets)
            assert handshake.heard() == b"421 4.7.0 Wait for the banner\r\n"
        desk.counts.wait(lambda counts: counts.sessions == 0)
        with RawClient("127.0.0.1", desk.port, tls=trusting(ca)) as client:
            assert client.command(EHLO[:-2]).code == 250


@pytest.mark.parametrize("loop", LOOPS)
def test_behind_starttls_there_is_no_banner_to_wait_for(
    loop: Loop, certificate: str, ca: trustme.CA
) -> None:
    with Desk(loop, listen=listen("starttls", certificate)) as desk, desk.connect() as client:
        assert client.command(EHLO[:-2]).code == 250
        assert client.command(b"STARTTLS").code == 220
        handshake = Handshake(client.sock, trusting(ca))
        handshake.finish_and_say(EHLO + b"QUIT\r\n")
        *greeting, bye = handshake.heard().splitlines()
        assert greeting[0] == b"250-router.example"
        assert bye.startswith(b"221 ")


def test_early_talk_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with Desk() as desk:
        for _ in range(5):
            with desk.held():
                client = desk.connect(read_banner=False)
                client.send(EHLO)
            with client:
                check_refused(desk, client)
    records = [one for one in caplog.records if one.getMessage() == "spoke before the banner"]
    assert len(records) == 1
    assert vars(records[0])["fields"] == {"peer": "127.0.0.1"}
