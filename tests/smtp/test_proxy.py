"""The PROXY protocol: who the client is, told by a proxy that is trusted, and by nobody else."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.smtp import proxy
from smtp_router.smtp.proxy import NoHeaderError, read_header
from tests.certificates import trusting, write_certificate
from tests.rawclient import RawClient, ehlo_keywords
from tests.running import Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = "192.0.2.9"
V1 = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n"


def v2(
    source: str = CLIENT, port: int = 4711, *, command: int = 1, kind: int = 1, more: bytes = b""
) -> bytes:
    packed = ip_address(source).packed
    family = 0x10 if len(packed) == 4 else 0x20
    addresses = packed + packed + struct.pack("!HH", port, 25) + more
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family | kind, len(addresses)) + addresses


def v2_raw(ver_cmd: int, family: int, rest: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", ver_cmd, family, len(rest)) + rest


async def read(header: bytes, *pieces: bytes) -> tuple[tuple[str, int] | None, bytes]:
    """What is read off these octets (in pieces, or all at once), and what is left of them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        loop = asyncio.get_running_loop()
        reading = asyncio.ensure_future(read_header(ours))
        for piece in pieces or (header,):
            theirs.sendall(piece)
            await asyncio.sleep(0)
        theirs.shutdown(socket.SHUT_WR)
        found = await reading
        return found, await loop.sock_recv(ours, 65536)


READABLE = {
    V1: (CLIENT, 4711),
    b"PROXY TCP6 2001:db8::9 ::1 4711 25\r\n": ("2001:db8::9", 4711),
    b"PROXY TCP6 ::ffff:192.0.2.9 ::1 4711 25\r\n": (CLIENT, 4711),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n": None,
    v2(): (CLIENT, 4711),
    v2("2001:db8::9"): ("2001:db8::9", 4711),
    v2("::ffff:192.0.2.9"): (CLIENT, 4711),
    v2(more=b"\x04\x00\x02hi"): (CLIENT, 4711),
    v2(command=0): None,  # LOCAL: a health check
    v2_raw(0x20, 0x00): None,
    v2_raw(0x21, 0x00): None,  # UNSPEC
    v2_raw(0x21, 0x31, 216 * b"/"): None,  # a Unix socket
    v2(kind=0): None,  # an address without a protocol
}


@pytest.mark.parametrize("header", READABLE, ids=repr)
async def test_the_header_names_the_client_and_not_an_octet_more_is_read(header: bytes) -> None:
    behind = b"EHLO x\r\n\x16\x03\x01"
    assert await read(header + behind) == (READABLE[header], behind)


@pytest.mark.parametrize("header", READABLE, ids=repr)
async def test_a_header_may_come_in_two_pieces_split_anywhere(header: bytes) -> None:
    for cut in range(1, len(header)):
        found = await read(b"", header[:cut], header[cut:] + b"rest")
        assert found == (READABLE[header], b"rest")


class Trickle(socket.socket):
    """A connection on which more comes as soon as all that was there is read."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.there, *self.pieces = pieces

    def recv(self, octets: int, flags: int = 0) -> bytes:
        found = self.there[:octets]
        if not flags & socket.MSG_PEEK:
            self.there = self.there[octets:]
            if not self.there and self.pieces:
                self.there = self.pieces.pop(0)
        return found


@pytest.mark.parametrize("header", READABLE, ids=repr)
async def test_what_comes_while_the_header_is_read_is_left_there(header: bytes) -> None:
    for cut in range(1, len(header)):
        with Trickle(header[:cut], header[cut:] + b"EHLO x\r\n") as client:
            assert await read_header(client) == READABLE[header]
            assert client.there == b"EHLO x\r\n"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"EHLO client.example\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXYTCP4 192.0.2.9 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\n",
        b"PROXY TCP4 192.0.2.9 127.0.0.1 1\r\n",
        b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.9  127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.999 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.9 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.9 127.0.0.1 65536 2\r\n",
        b"PROXY TCP4 192.0.2.9 127.0.0.1 -1 2\r\n",
        b"PROXY UDP4 192.0.2.9 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 " + 200 * b"1" + b"\r\n",
        b"proxy TCP4 192.0.2.9 127.0.0.1 1 2\r\n",
        SIGNATURE,
        SIGNATURE.replace(b"QUIT", b"QUIX") + b"\x21\x11\x00\x00",
        v2()[:-1],
        v2_raw(0x11, 0x11, 12 * b"\0"),
        v2_raw(0x2F, 0x11, 12 * b"\0"),
        v2_raw(0x21, 0x41, 12 * b"\0"),
        v2_raw(0x21, 0x11, 11 * b"\0"),
        v2_raw(0x21, 0x21, 12 * b"\0"),
    ],
)
async def test_anything_else_is_no_header(header: bytes) -> None:
    with pytest.raises(NoHeaderError):
        await read(header)


@given(
    st.binary(max_size=40)
    | st.binary(max_size=30).map(lambda rest: b"PROXY " + rest + b"\r\n")
    | st.binary(max_size=40).map(lambda rest: SIGNATURE + rest)
)
def test_no_octets_are_an_error_of_ours(header: bytes) -> None:
    with asyncio.Runner() as runner:
        try:
            found, _ = runner.run(read(header))
        except NoHeaderError:
            return
    assert found is None or str(ip_address(found[0])) == found[0]


async def test_a_proxy_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "HEADER_S", 0.01)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.sendall(V1[:-1])
        with pytest.raises(NoHeaderError):
            await read_header(ours)


# In front of a router


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as running:
        yield running


def behind(router: Router, header: bytes) -> RawClient:
    """A client whose connection begins with this."""
    client = router.connect(read_banner=False)
    client.send(header)
    return client


@pytest.mark.parametrize("header", [V1, v2()], ids=["v1", "v2"])
def test_the_clients_real_address_is_what_counts(
    header: bytes, witness: Witness, tmp_path: Path
) -> None:
    """In `Received`, in logs, and for what is allowed: it is not this machine any more."""
    listen = [{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.0/8"]}]
    configuration = one_user(witness, listen=listen)
    configuration["users"][0]["networks"] = ["192.0.2.0/24"]
    with Router(configuration, tmp_path) as router, behind(router, header) as client:
        assert client.reply().code == 220
        assert "AUTH" not in ehlo_keywords(client.command(b"EHLO client.example"))
        assert client.transaction(A, [B], HELLO).code == 250
        client.send(b"\0\r\n")
        client.reply()
        (delivery,) = witness.deliveries
        assert b"from client.example ([192.0.2.9])\r\n" in delivery.content
        assert b" with ESMTP id " in delivery.content


def test_a_health_check_is_the_proxys_own(witness: Witness, tmp_path: Path) -> None:
    listen = [{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1/32"]}]
    with (
        Router(one_user(witness, listen=listen), tmp_path) as router,
        behind(router, v2(command=0)) as client,
    ):
        assert client.reply().code == 220
        assert "AUTH" in ehlo_keywords(client.command(b"EHLO client.example"))
        assert client.command(b"QUIT").code == 221


def test_without_its_header_a_trusted_proxy_hears_nothing(witness: Witness, tmp_path: Path) -> None:
    listen = [{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1/32"]}]
    with Router(one_user(witness, listen=listen), tmp_path) as router:
        with behind(router, b"EHLO client.example\r\n") as client:
            assert client.at_eof()
        router.log.wait("connection not begun")
        with behind(router, V1) as client:
            assert client.reply().code == 220


def test_from_anybody_else_a_header_is_garbage(witness: Witness, tmp_path: Path) -> None:
    listen = [{"addr": "127.0.0.1:0", "proxy_protocol": ["192.0.2.0/24"]}]
    configuration = one_user(witness, listen=listen)
    configuration["users"][0]["networks"] = [CLIENT]
    with Router(configuration, tmp_path) as router:
        with router.connect() as client:
            client.send(V1)
            assert client.reply().code == 500
            assert client.command(b"EHLO client.example").code == 250
            assert client.command(b"MAIL FROM:<a@a.example>").code == 530
        with router.held():
            client = behind(router, V1)
        with client:
            assert client.reply().code == 421
            assert client.at_eof()
        assert router.log.wait("spoke before the banner")["peer"] == "127.0.0.1"


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_the_header_comes_in_front_of_tls(tls: str, witness: Witness, tmp_path: Path) -> None:
    ca = trustme.CA()
    write_certificate(ca, tmp_path / "cert.pem")
    listen = {"addr": "127.0.0.1:0", "tls": tls, "tls_cert": "cert.pem"}
    listen |= {"proxy_protocol": ["127.0.0.1/32"]}  # type: ignore[dict-item]  # a list, too
    configuration = one_user(witness, listen=[listen])
    configuration["users"][0]["networks"] = [CLIENT]
    context: ssl.SSLContext = trusting(ca)
    with Router(configuration, tmp_path) as router, behind(router, V1) as client:
        if tls == "implicit":
            client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
        assert client.reply().code == 220
        if tls == "starttls":
            assert client.starttls(context).code == 220
        assert "AUTH" in ehlo_keywords(client.command(b"EHLO client.example"))
        assert client.transaction(A, [B], HELLO).code == 250
    assert b"([192.0.2.9])" in witness.deliveries[0].content
    assert b" with ESMTPS id " in witness.deliveries[0].content


def test_a_router_that_stops_waits_for_no_header(witness: Witness, tmp_path: Path) -> None:
    listen = [{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1/32"]}]
    with Router(json.loads(json.dumps(one_user(witness, listen=listen))), tmp_path) as router:
        client = behind(router, V1[:5])
        router.stop()
        router.ended(4)
        client.close()
