"""What a client gives is what a downstream gets, octet for octet, below one `Received` field."""

import asyncio
import base64
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import dkim
import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.delivery import Delivery
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER, Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"

Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Witness, RawClient]]:
    """A router on each kind of event loop, with its downstream and a client that has logged in."""
    folder = tmp_path_factory.mktemp("router")
    with (
        Witness() as witness,
        Router(one_user(witness, bare_newlines="accept"), folder, loop_factory=request.param) as router,
        router.client() as client,
    ):
        yield witness, client


def through(running: tuple[Witness, RawClient], wire: bytes) -> Delivery:
    """Send exactly this behind DATA, the final dot included."""
    witness, client = running
    assert client.envelope(A, [B]).code == 250
    client.wire(wire)
    reply = client.reply()
    assert reply.code == 250, reply
    return witness.deliveries[-1]


WIRES = {
    "nothing at all": b"",
    "an empty line": b"\r\n",
    "no header": b"\r\nbody\r\n",
    "no body": b"Subject: hello\r\n",
    "no body, no line end in the header": b"Subject hello\r\n",
    "fields that end in LF": b"Subject: one\nFrom: two\n\nthree\n\r\n",
    "fields that end in CR": b"Subject: one\rFrom: two\r\rthree\r\r\n",
    "mixed line ends": b"Subject: one\r\n\tfolded\n folded\rX: \r\r\n\n\r\n",
    "spaces at line ends": b"Subject: one \t \r\n\r\ntwo \t\r\n \r\n",
    "a field without a name": b": nothing\r\nnothing\r\n\r\n",
    "8-bit": b"Subject: gr\xfc\xdf\r\nX-\xe9: \xff\r\n\r\n\x80\xfe\xff \xe2\x98\x83\r\n",
    "NUL and controls": b"Subject: \0\r\n\r\n\0\x01\x07\x08\x0b\x0c\x1a\x1b\x7f\x85\r\n",
    "stuffed dots": b"..\r\n...\r\n..a\r\n\r\n..\r\n",
    "a dot that is not stuffed": b".a\r\n\r\n.b.\r\n",
    "dots behind other line ends": b"a\n.\nb\r.\rc\r\r\n..\r\n",
    "a very long line": b"Subject: " + 100_000 * b"x" + b"\r\n\r\n" + 100_000 * b"y" + b"\r\n",
    "a body of one octet": b"\r\nx\r\n",
    "every octet": b"\r\n" + bytes(range(14, 256)) + b"\r\n",
    "a megabyte": b"Subject: big\r\n\r\n" + 30_000 * b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n",
}


@pytest.mark.parametrize("what", WIRES)
def test_content_arrives_octet_for_octet(running: tuple[Witness, RawClient], what: str) -> None:
    wire = WIRES[what]
    delivery = through(running, wire + b".\r\n")
    unstuffed = re.sub(rb"(\A|\r\n)\.", rb"\1", wire)
    assert delivery.body_below_received == unstuffed
    stuffed = re.sub(rb"(\A|\r\n)\.", rb"\1..", unstuffed)
    assert delivery.wire.endswith(stuffed)  # and goes out as it came in


@given(wire=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff", b": "])))
@settings(max_examples=60, deadline=None)
def test_any_content_arrives_octet_for_octet(
    running: tuple[Witness, RawClient], wire: list[bytes]
) -> None:
    content = b"".join(wire)
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
    delivery = through(running, stuffed + end + b".\r\n")
    assert delivery.body_below_received == content + end


ENDS = {
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "CRCRLF": b"\r\r\n",
    "LFCR": b"\n\r",
    "NUL": b"\0",
    "CRNULLF": b"\r\0\n",
    "VT": b"\v",
    "FF": b"\f",
    "NEL": b"\xc2\x85",
    "LS": b"\xe2\x80\xa8",
    "none": b"",
}
SMUGGLED = b"MAIL FROM:<x@x.example>\r\nRCPT TO:<y@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\n"


NO_END = [
    (before, after)
    for before, after in itertools.product(ENDS, repeat=2)
    if b"\r\n.\r\n" not in ENDS[before] + b"." + ENDS[after]
]


@pytest.mark.parametrize(("before", "after"), NO_END)
def test_nothing_is_smuggled(running: tuple[Witness, RawClient], before: str, after: str) -> None:
    """Whatever looks like an end of content but is not is content; RFC 5321 2.3.8, 4.1.1.4."""
    witness, client = running
    already = len(witness.deliveries)
    wire = b"Subject: one\r\n\r\none" + ENDS[before] + b"." + ENDS[after] + SMUGGLED
    delivery = through(running, wire + b".\r\n")
    assert client.command(b"NOOP").code == 250
    assert len(witness.deliveries) == already + 1
    assert delivery.body_below_received == wire.replace(b"\r\n.", b"\r\n")
    assert delivery.mail_from == A
    assert b"MAIL FROM:<x@x.example>" not in witness.commands


ADDRESSES = [
    (b"", b"b@b.example", b""),
    (b"a+tag=x@a.example", b"postmaster", b""),
    (b"A.B@A.Example", b"PostMaster@B.EXAMPLE", b""),
    (b'"a b"@a.example', b'"<>@,:;\\\\ \\""@b.example', b""),
    (b'""@a.example', b'"\\a"@b.example', b""),
    (b"a@[192.0.2.1]", b"b@[IPv6:2001:db8::1]", b""),
    (b"!#$%&'*+/=?^_`{|}~-@a.example", b"=?utf-8?q?b=40x?=@b.example", b""),
    (b"a@a.example", b"b%c@b.example", b" SIZE=100 BODY=8BITMIME"),
    ("jürgen@müller.example".encode(), "用户@例え.example".encode(), b" SMTPUTF8"),
    ('"ü ö"@a.example'.encode(), "e\u0301@b.example".encode(), b" BODY=8BITMIME SMTPUTF8"),
    (60 * b"a" + b"@" + 60 * b"a" + b".example", 150 * b"b" + b"@b.example", b""),
]


@pytest.mark.parametrize(("mail_from", "rcpt_to", "parameters"), ADDRESSES)
def test_addresses_arrive_octet_for_octet(
    running: tuple[Witness, RawClient], mail_from: bytes, rcpt_to: bytes, parameters: bytes
) -> None:
    witness, client = running
    assert client.transaction(mail_from, [rcpt_to, B], HELLO, params=parameters[1:]).code == 250
    delivery = witness.deliveries[-1]
    size = b" SIZE=%d" % len(delivery.content)
    expected = b"MAIL FROM:<" + mail_from + b">" + size + parameters.replace(b" SIZE=100", b"")
    assert delivery.mail_line == expected
    assert delivery.rcpt_lines == (b"RCPT TO:<" + rcpt_to + b">", b"RCPT TO:<" + B + b">")


def test_a_recipient_given_twice_is_given_twice(running: tuple[Witness, RawClient]) -> None:
    witness, client = running
    assert client.transaction(A, [B, B], HELLO).code == 250
    assert witness.deliveries[-1].rcpt_tos == (B, B)


# Received

RECEIVED = re.compile(
    rb"Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby router\.example \(smtp-router\) with (?P<with>\w+) id (?P<id>[0-9a-f]{20})(?:\r\n"
    rb"\tfor <(?P<for>[^>]*)>)?;\r\n"
    rb"\t(?P<date>[^\r\n]+)\r\n",
)


@pytest.mark.parametrize(
    ("rcpt_tos", "parameters", "named", "protocol"),
    [
        ([B], b"", B, b"ESMTPA"),
        ([B, b"c@b.example"], b"", None, b"ESMTPA"),
        (["ü@b.example".encode()], b"SMTPUTF8", "ü@b.example".encode(), b"UTF8SMTPA"),
    ],
)
def test_one_received_is_put_on_top(
    running: tuple[Witness, RawClient],
    rcpt_tos: list[bytes],
    parameters: bytes,
    named: bytes | None,
    protocol: bytes,
) -> None:
    """RFC 5321 4.4, RFC 3848; older ones stay as they are."""
    witness, client = running
    older = b"received:from x by y\r\n\t; long ago\r\n"
    reply = client.transaction(A, rcpt_tos, older + HELLO, params=parameters)
    content = witness.deliveries[-1].content
    match = RECEIVED.match(content)
    assert match, content
    assert match["with"] == protocol
    assert match["for"] == named
    assert reply.lines[0].endswith(b" " + match["id"])
    assert parsedate_to_datetime(match["date"].decode()).tzinfo
    assert content[match.end() :] == older + HELLO


def test_helo_is_smtp_in_received(tmp_path: Path) -> None:
    """Without EHLO there is no AUTH, so a login has to come before."""
    with Witness() as witness, Router(one_user(witness), tmp_path) as router, router.client() as c:
        assert c.command(b"HELO client.example").code == 250
        assert c.transaction(A, [B], HELLO).code == 250
        assert b" with SMTP id " in witness.deliveries[0].content


def test_a_client_over_ipv6_is_named_so(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Witness() as witness:
        listening = one_user(witness, listen=[{"addr": "[::1]:0"}])
        with Router(listening, tmp_path) as router, RawClient("::1", router.port) as client:
            assert client.command(b"EHLO client.example").code == 250
            assert client.login(USER, PASSWORD).code == 235
            assert client.transaction(A, [B], HELLO).code == 250
        assert router.log.find(f"listening on [::1]:{router.port}")
        content = witness.deliveries[0].content
    assert content.startswith(b"Received: from client.example ([IPv6:::1])\r\n")


@pytest.mark.parametrize(("fields", "code", "enhanced"), [(99, 250, "2.0.0"), (100, 554, "5.4.6")])
def test_a_message_that_goes_in_circles_is_stopped(
    running: tuple[Witness, RawClient], fields: int, code: int, enhanced: str
) -> None:
    """RFC 5321 6.3; what the body quotes does not count."""
    witness, client = running
    already = len(witness.deliveries)
    content = fields * b"Received: from x by y; now\r\n" + b"\r\n" + 200 * b"Received: quoted\r\n"
    reply = client.transaction(A, [B], content)
    assert (reply.code, reply.enhanced) == (code, enhanced)
    assert len(witness.deliveries) - already == (code == 250)
    assert client.transaction(A, [B], HELLO).code == 250


# DKIM


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - quick


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
def test_a_dkim_signature_holds_after_the_trip(
    running: tuple[Witness, RawClient],
    key: rsa.RSAPrivateKey,
    canonicalize: tuple[bytes, bytes],
) -> None:
    message = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <a@a.example>\r\nTo: b@b.example\r\nSubject: odd\t\r\n  fold\r\n"
        b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n"
        b"gr\xfc\xdfe \t \r\n.\r\n..\r\n" + 2000 * b"x" + b"\r\n\r\n\r\n"
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    signature = dkim.sign(message, b"s", b"a.example", private, canonicalize=canonicalize)

    def verifies(content: bytes) -> bool:
        return bool(dkim.verify(content, dnsfunc=lambda *_, **__: record, minkey=512))

    witness, client = running
    assert client.transaction(A, [B], signature + message, params=b"BODY=8BITMIME").code == 250
    arrived = witness.deliveries[-1].content
    assert verifies(arrived)
    assert not verifies(arrived.replace(b"..\r\n", b".\r\n"))
