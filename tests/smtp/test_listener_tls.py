"""TLS on the listening side, as clients see it; on both kinds of event loop."""

import asyncio
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
import uvloop

from smtp_router.smtp import listener
from tests.certificates import trusting, write_certificate
from tests.rawclient import RawClient, ehlo_keywords
from tests.running import PASSWORD, USER, Config, Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
EHLO = b"EHLO client.example"
GARBAGE = b"EHLO client.example\r\n" + 100 * b"\0"

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[Loop] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def context(ca: trustme.CA) -> ssl.SSLContext:
    return trusting(ca)


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as running:
        yield running


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def start(
    request: pytest.FixtureRequest, ca: trustme.CA, witness: Witness, tmp_path: Path
) -> Callable[..., Router]:
    """Makes a router with a certificate; what is given goes into its listener's configuration."""
    write_certificate(ca, tmp_path / "cert.pem")

    def make(
        tls: str = "starttls",
        *,
        settings: Config | None = None,
        user: Config | None = None,
        **more: object,
    ) -> Router:
        listen = {"addr": "127.0.0.1:0", "tls": tls, "tls_cert": "cert.pem", **more}
        downstream = {"addr": witness.addr, "name": witness.name}
        configuration = one_user(downstream, listen=[listen], **(settings or {}))
        configuration["users"][0] |= user or {}
        return Router(configuration, tmp_path, loop_factory=request.param)

    return make


Start = Callable[..., Router]


def connect(router: Router, context: ssl.SSLContext, tls: str) -> RawClient:
    """An encrypted connection that has said nothing yet."""
    if tls == "implicit":
        return RawClient("127.0.0.1", router.port, tls=context)
    client = let_in(router)
    assert client.command(EHLO).code == 250
    assert client.starttls(context).code == 220
    return client


def let_in(router: Router) -> RawClient:
    """A client that is taken as soon as those before it are counted off."""
    for _ in range(10_000):
        client = router.connect()
        assert client.banner
        if client.banner.code == 220:
            return client
        client.close()
    pytest.fail("whoever has gone is counted for ever")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mail_comes_in_encrypted(
    tls: str, start: Start, context: ssl.SSLContext, witness: Witness, tmp_path: Path
) -> None:
    """And a plugin and `Received` (RFC 3848) are told so."""
    (tmp_path / "tell.py").write_text(
        "from smtp_router import hookimpl\n\n\n"
        "@hookimpl\ndef before_send(message):\n"
        "    return message.with_header('X-TLS', f'{message.session.tls.version} '\n"
        "                               f'{message.session.tls.cipher}')\n"
    )
    plugins = {"plugins": ["./tell.py"]}
    with start(tls, user=plugins) as router, connect(router, context, tls) as client:
        assert client.command(EHLO).code == 250
        assert client.login(USER, PASSWORD).code == 235
        assert client.transaction(A, [B], HELLO).code == 250
        big = b"Subject: big\r\n\r\n" + 50_000 * b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n"
        assert client.transaction(A, [B], big).code == 250
        assert isinstance(client.sock, ssl.SSLSocket)
        cipher = client.sock.cipher()
        assert cipher is not None
        said = f"{client.sock.version()} {cipher[0]}".encode()
    first, second = witness.deliveries
    assert b"X-TLS: " + said in first.content
    assert b" with ESMTPSA id " in first.content
    assert b"\r\n\t(" + said.replace(b" ", b", ") + b")\r\n" in first.content
    assert first.content.endswith(HELLO)
    assert second.content.endswith(big)


def test_starttls_is_offered_until_it_has_been_said(start: Start, context: ssl.SSLContext) -> None:
    with start() as router, router.connect() as client:
        clear = ehlo_keywords(client.command(EHLO))
        client.starttls(context)
        encrypted = ehlo_keywords(client.command(EHLO))
        assert client.command(b"STARTTLS").code == 503
    assert "STARTTLS" in clear
    assert "STARTTLS" not in encrypted
    assert "REQUIRETLS" not in clear
    assert "REQUIRETLS" in encrypted


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_1_1_is_refused(tls: str, start: Start, context: ssl.SSLContext, ca: trustme.CA) -> None:
    old = trusting(ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with start(tls) as router:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(router, old, tls)
        with connect(router, context, tls) as client:
            assert client.command(EHLO).code == 250


def test_require_tls_refuses_logins_and_mail_in_clear_text(
    start: Start, context: ssl.SSLContext, witness: Witness
) -> None:
    with start(require_tls=True) as router, router.connect() as client:
        assert "AUTH" not in ehlo_keywords(client.command(EHLO))
        for command in (b"AUTH PLAIN", b"MAIL FROM:<a@a.example>"):
            reply = client.command(command)
            assert (reply.code, reply.enhanced) == (530, "5.7.0")
        client.starttls(context)
        assert client.command(EHLO).code == 250
        assert client.login(USER, PASSWORD).code == 235
        assert client.transaction(A, [B], HELLO).code == 250
    assert len(witness.deliveries) == 1


def test_what_was_said_in_clear_text_is_forgotten(
    start: Start, context: ssl.SSLContext, witness: Witness
) -> None:
    """RFC 3207 4.2: the name, the login, the transaction."""
    with start(user={"max_connections": 1}) as router, router.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.starttls(context)
        assert client.command(b"MAIL FROM:<a@a.example>").code == 503
        assert client.command(EHLO).code == 250
        assert client.command(b"DATA").code == 503
        assert client.command(b"MAIL FROM:<a@a.example>").code == 530
        with router.client() as other:  # the login is not counted any more
            assert other.command(b"NOOP").code == 250
        assert not witness.connections


@pytest.mark.parametrize("text", [b"EHLO x\r\n", b"x", b"\r\n", b"\x16\x03\x01"])
def test_text_behind_starttls_ends_the_connection(
    text: bytes, start: Start, context: ssl.SSLContext
) -> None:
    """Anyone on the way could have put it there (RFC 3207 4.2; CVE-2011-0411)."""
    with start() as router:
        for _ in range(3):
            with router.connect() as client:
                assert client.command(EHLO).code == 250
                client.send(b"STARTTLS\r\n" + text)
                assert client.at_eof()
        router.log.wait("text behind STARTTLS")
        with connect(router, context, "starttls") as client:
            assert client.command(EHLO).code == 250


def garbage(sock: socket.socket) -> None:
    sock.sendall(GARBAGE)
    while sock.recv(1024):
        pass


def half_a_hello(sock: socket.socket) -> None:
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1024):
        pass


def nothing(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1024):
        pass


@pytest.mark.parametrize("fail", [garbage, half_a_hello, nothing, socket.socket.close])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_handshake_that_fails_leaves_nothing_behind(
    tls: str, fail: Callable[[socket.socket], None], start: Start, context: ssl.SSLContext
) -> None:
    limits = {"max_connections": 2, "max_connections_per_address": 2}
    with start(tls, settings=limits) as router:
        for _ in range(6):
            if tls == "starttls":
                client = let_in(router)
                assert client.command(b"STARTTLS").code == 220
            else:
                client = router.connect(read_banner=False)
            with suppress(ConnectionError):
                fail(client.sock)
            client.close()
        with connect(router, context, tls) as client:
            assert client.command(EHLO).code == 250
        if tls == "starttls":
            router.log.wait("TLS handshake failed")
        assert not [entry for entry in router.log.entries if entry["level"] == "error"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_router_that_stops_waits_for_no_handshake_for_ever(tls: str, start: Start) -> None:
    with start(tls, settings={"drain_s": 0.2}) as router:
        client = router.connect(read_banner=tls == "starttls")
        if tls == "starttls":
            assert client.command(b"STARTTLS").code == 220
        client.send(b"\x16\x03\x01")
        router.stop()
        router.ended(8)
        client.close()


def test_handshakes_that_are_never_made_do_not_keep_others_out(
    start: Start, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_ARRIVING", 3)
    with start("implicit") as router:
        silent = [router.connect(read_banner=False) for _ in range(6)]
        with connect(router, context, "implicit") as client:
            assert client.command(EHLO).code == 250
        assert [client.at_eof() for client in silent[:3]] == 3 * [True]
        for client in silent:
            client.close()


def serial(router: Router, context: ssl.SSLContext) -> object:
    with connect(router, context, "implicit") as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        return (client.sock.getpeercert() or {})["serialNumber"]


def test_a_certificate_is_taken_up_while_it_runs(
    start: Start, context: ssl.SSLContext, ca: trustme.CA, tmp_path: Path
) -> None:
    with start("implicit") as router:
        first = serial(router, context)
        with connect(router, context, "implicit") as before:
            write_certificate(ca, tmp_path / "cert.pem")
            router.log.wait("certificate reloaded")
            second = serial(router, context)
            assert second != first
            assert before.command(EHLO).code == 250
        for times, broken in enumerate((b"", b"-----BEGIN CERTIFICATE-----\nx\n"), 1):
            (tmp_path / "cert.pem").write_bytes(broken)
            entry = router.log.wait("certificate not reloaded, the old one stays", times=times)
            assert entry["tls_cert"].endswith("cert.pem")
            assert serial(router, context) == second
        write_certificate(ca, tmp_path / "cert.pem")
        router.log.wait("certificate reloaded", times=2)
        assert serial(router, context) not in (first, second)


def test_a_key_of_another_certificate_keeps_the_old_one(
    start: Start, context: ssl.SSLContext, ca: trustme.CA, tmp_path: Path
) -> None:
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with start("implicit", tls_key="key.pem") as router:
        first = serial(router, context)
        ca.issue_cert("localhost").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        router.log.wait("certificate not reloaded, the old one stays")
        assert serial(router, context) == first
