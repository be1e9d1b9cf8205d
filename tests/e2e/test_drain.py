"""How a router ends: nothing is lost, everybody hears."""

import signal
import threading
import time
from pathlib import Path

import pytest

from tests.load import Load, refuses
from tests.running import Router, Serve, config, one_user, user
from tests.script import HANG, NORMAL, Step
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_sessions_hear_why_and_the_exit_code_is_0(number: signal.Signals, tmp_path: Path) -> None:
    with Witness() as a, Serve(one_user(a), tmp_path) as router:
        with router.connect() as fresh, router.client() as logged_in:
            router.signal(number)
            for client in (fresh, logged_in):
                reply = client.reply()
                assert (reply.code, reply.enhanced) == (421, "4.3.2")
                assert client.at_eof()
        assert router.ended() == 0
        assert refuses("127.0.0.1", router.port)
        assert "Traceback" not in router.program.output


def test_a_transaction_that_has_begun_may_end(tmp_path: Path) -> None:
    """Whether it stands at MAIL, in its content, or at the downstream; no new one begins."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(_: bytes) -> Step:
        reached.set()
        assert go_on.wait(10)
        return NORMAL

    with (
        Witness({"final": [wait, NORMAL]}) as a,
        Router(one_user(a), tmp_path) as router,
        router.client() as at_downstream,
        router.client() as at_mail,
        router.client() as in_content,
        router.client() as idle,
    ):
        assert at_downstream.envelope(A, [B]).code == 250
        at_downstream.wire(HELLO + b".\r\n")
        assert reached.wait(10)
        assert at_mail.command(b"MAIL FROM:<a@a.example>").code == 250
        assert in_content.envelope(A, [B]).code == 250
        in_content.wire(HELLO)
        router.stop()
        assert idle.reply().code == 421
        router.log.wait("draining")
        assert refuses("127.0.0.1", router.port)
        go_on.set()
        assert at_downstream.reply().code == 250
        assert at_mail.command(b"RCPT TO:<b@b.example>").code == 250
        at_mail.wire(HELLO + b".\r\n")
        assert at_mail.reply().code == 250
        in_content.send(b".\r\n")
        assert in_content.reply().code == 250
        for client in (at_downstream, at_mail, in_content):
            reply = client.reply()
            assert (reply.code, reply.enhanced) == (421, "4.3.2")
            assert client.at_eof()
        router.ended()
        assert len(a.deliveries) == 3


def test_it_is_ready_until_it_begins_to_stop(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        with router.client() as client:
            ready = [router.is_ready]
            assert client.command(b"MAIL FROM:<a@a.example>").code == 250
            router.stop()
            router.log.wait("draining")
            ready.append(router.is_ready)
            assert client.command(b"RSET").code == 250
        router.ended()
    assert ready == [True, False]


def test_a_transaction_that_is_given_up_ends_the_session_too(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router, router.client() as client:
        assert client.command(b"MAIL FROM:<a@a.example>").code == 250
        router.stop()
        router.log.wait("draining")
        assert client.command(b"RSET").code == 250
        assert client.reply().code == 421
        router.ended()


@pytest.mark.parametrize("serve", [Router, Serve])
def test_under_load_nothing_is_lost(serve: type[Router | Serve], tmp_path: Path) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        serve(config(user(a, b, algorithm="round_robin")), tmp_path) as router,
        Load(router.client, clients=20) as load,
    ):
        load.wait(100)
        match router:
            case Router():
                router.stop()
                router.ended()
            case Serve():
                router.signal(signal.SIGTERM)
                assert router.ended() == 0
        load.ended()
        load.check(a, b)
    assert load.codes == {250}
    assert load.sent == load.replies.keys()  # whatever was not answered was turned away, unsent
    assert not load.errors
    assert len(load.good_byes) == 20
    assert {(reply.code, reply.enhanced) for reply in load.good_byes} == {(421, "4.3.2")}


def test_what_does_not_end_is_cut_off_after_drain_s(tmp_path: Path) -> None:
    with Witness({"final": HANG}) as a:
        with (
            Router(one_user(a, drain_s=0.2), tmp_path) as router,
            router.client() as submitting,
            router.client() as dripping,
        ):
            assert submitting.envelope(A, [B]).code == 250
            submitting.wire(HELLO + b".\r\n")
            assert dripping.command(b"MAIL FROM:<a@a.example>").code == 250
            a.wait_for(lambda: a.hanging)
            router.stop()
            assert submitting.at_eof()
            assert dripping.at_eof()
            router.ended()
            assert router.log.find("message")[0]["outcome"] == "in_doubt"
        a.wait_for(lambda: not a.open_now)


def test_a_second_signal_cuts_off(tmp_path: Path) -> None:
    with Witness({"mail": HANG}) as a, Serve(one_user(a, drain_s=60), tmp_path) as router:
        with router.client() as client:
            assert client.envelope(A, [B]).code == 250
            client.wire(HELLO + b".\r\n")
            a.wait_for(lambda: a.hanging)
            router.signal(signal.SIGTERM)
            router.log.wait("draining")
            started = time.monotonic()
            router.signal(signal.SIGTERM)
            assert client.at_eof()
        assert router.ended() == 0
        assert time.monotonic() - started < 5
        assert router.log.wait("message")["outcome"] == "abandoned"
        assert not a.deliveries
        assert "Traceback" not in router.program.output


def test_half_a_login_does_not_hold_it_up(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Router(one_user(a, drain_s=30), tmp_path) as router,
        router.connect() as client,
    ):
        assert client.command(b"EHLO client.example").code == 250
        assert client.command(b"AUTH LOGIN").code == 334
        started = time.monotonic()
        router.stop()
        assert client.reply().code == 421
        router.ended()
        assert time.monotonic() - started < 10
