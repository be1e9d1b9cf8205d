"""TLS to downstreams, through the whole router, on both event loops."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import uvloop

from tests.running import Config, Router, downstream, one_user
from tests.script import DROP
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
BIG = b"Subject: big\r\n\r\n" + 500_000 * b"0123456789 abcdefg\r\n"
LOGIN = ("router", "s3cret-word")

Loop = Callable[[], asyncio.AbstractEventLoop]
pytestmark = [
    pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop]),
    pytest.mark.parametrize("mode", ["starttls", "implicit"]),
]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(ca: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    return context


def safely(witness: Witness, mode: str, **more: object) -> Config:
    """The witness as a downstream that is only to be talked to encrypted."""
    return downstream(witness, addr=f"localhost:{witness.port}", tls=mode, tls_ca="./ca.pem", **more)


def test_mail_and_login_go_out_encrypted(
    loop: Loop, mode: str, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    with (
        Witness(tls=tls, implicit_tls=mode == "implicit", auth=LOGIN) as a,
        Router(one_user(safely(a, mode)), tmp_path, loop_factory=loop) as router,
        router.client() as client,
    ):
        for content in (HELLO, BIG):
            assert client.transaction(A, [B], content).code == 250
        assert [delivery.body_below_received for delivery in a.deliveries] == [HELLO, BIG]
        assert all(delivery.tls and delivery.login for delivery in a.deliveries)
        assert a.connections == 1
    a.wait_for(lambda: a.quits == 1)


def test_a_downstream_that_is_not_who_it_says_gets_nothing_and_the_next_one_all(
    loop: Loop, mode: str, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    with (
        Witness(tls=tls, implicit_tls=mode == "implicit", auth=LOGIN) as a,
        Witness(tls=tls, implicit_tls=mode == "implicit", auth=LOGIN, name="b") as b,
    ):
        wrong = safely(a, mode) | {"addr": a.addr}
        with (
            Router(one_user(wrong, safely(b, mode)), tmp_path, loop_factory=loop) as router,
            router.client() as client,
        ):
            assert client.transaction(A, [B], HELLO).code == 250
            router.configure(one_user(wrong))
            router.reload()
            router.log.wait("reloaded")
            reply = client.transaction(A, [B], HELLO)
            assert (reply.code, reply.enhanced) == (451, "4.7.5")
        assert set(a.commands) <= {b"EHLO router.example", b"STARTTLS"}
        assert len(b.deliveries) == 1


def test_one_that_breaks_off_in_the_middle_of_the_content_is_passed_over(
    loop: Loop, mode: str, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    with (
        Witness({"content": DROP}, tls=tls, implicit_tls=mode == "implicit") as a,
        Witness(tls=tls, implicit_tls=mode == "implicit", name="b") as b,
        Router(one_user(safely(a, mode), safely(b, mode)), tmp_path, loop_factory=loop) as router,
        router.client() as client,
    ):
        assert client.transaction(A, [B], BIG).code == 250
        assert not a.deliveries
        assert [delivery.body_below_received for delivery in b.deliveries] == [BIG]
