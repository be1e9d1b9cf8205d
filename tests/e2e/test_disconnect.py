"""A client that goes away: before its dot was passed on nothing is delivered, behind it all is."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rawclient import RawClient
from tests.running import Router, one_user, user
from tests.running import config as settings
from tests.script import HANG, NORMAL, Act, Step
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"

Leave = Callable[[RawClient], None]
LEAVE: dict[str, Leave] = {
    "close": RawClient.close,
    "reset": RawClient.reset,
    "half-close": RawClient.shutdown_write,
}


class Gate:
    """A step of the script that waits to be opened; `reached` tells that it waits."""

    def __init__(self, step: Step = NORMAL) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._step = step

    def __call__(self, _: bytes) -> Step:
        self.reached.set()
        assert self.opened.wait(10)
        return self._step


def submit(client: RawClient) -> None:
    """Hand a message in, and wait for no answer."""
    assert client.envelope(A, [B]).code == 250
    client.wire(HELLO + b".\r\n")


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("where", ["banner", "ehlo", "mail", "rcpt", "data"])
def test_before_the_dot_is_passed_on_nothing_is_delivered(
    leave: str, where: str, tmp_path: Path
) -> None:
    with (
        Witness({where: HANG}) as a,
        Witness(name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
        router.client() as client,
    ):
        submit(client)
        a.wait_for(lambda: a.hanging)
        LEAVE[leave](client)
        router.log.wait("message", outcome="abandoned", code=None)
        a.wait_for(lambda: not a.open_now)  # the attempt ends at once
        assert not a.deliveries
        assert not b.connections


@pytest.mark.parametrize("leave", LEAVE)
def test_behind_the_dot_the_delivery_runs_to_its_end(leave: str, tmp_path: Path) -> None:
    gate = Gate()
    with (
        Witness({"final": gate}) as a,
        Router(one_user(a), tmp_path) as router,
        router.client() as client,
    ):
        submit(client)
        assert gate.reached.wait(10)
        LEAVE[leave](client)
        with router.client() as other:  # by now the router has seen the first one leave
            assert other.command(b"NOOP").code == 250
        gate.opened.set()
        message = router.log.wait("message")
        assert (message["outcome"], message["code"]) == ("delivered", 250)
        router.log.wait("client gone before the reply", id=message["id"])
        assert [delivery.body_below_received for delivery in a.deliveries] == [HELLO]


@pytest.mark.parametrize("reply", [b"451 4.3.0 later", b"421 4.3.2 closing"])
def test_nobody_else_is_tried_for_a_client_that_has_gone(reply: bytes, tmp_path: Path) -> None:
    """It has heard nothing, so it will send the message again: that would be twice."""
    gate = Gate(reply)
    with (
        Witness({"final": gate}) as a,
        Witness(name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
        router.client() as client,
    ):
        submit(client)
        assert gate.reached.wait(10)
        client.close()
        with router.client() as other:
            assert other.command(b"NOOP").code == 250
        gate.opened.set()
        assert router.log.wait("message")["outcome"] in {"abandoned", "deferred"}
        assert not a.deliveries
        assert not b.connections


SESSION = (
    b"EHLO client.example\r\n"
    b"AUTH PLAIN AGFwcEBhcHAuZXhhbXBsZQBvcGVuIHNlc2FtZQ==\r\n"  # \0USER\0PASSWORD
    b"MAIL FROM:<a@a.example>\r\n"
    b"RCPT TO:<b@b.example>\r\n"
    b"DATA\r\n" + HELLO + b".\r\n"
)


@pytest.mark.parametrize("leave", LEAVE)
def test_cut_anywhere_before_its_end_a_session_delivers_nothing(leave: str, tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        for cut in range(len(SESSION)):
            with router.connect() as client:
                client.send(SESSION[:cut])
                LEAVE[leave](client)
                if leave == "half-close":
                    while not client.at_eof():
                        client.reply()
        with router.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
        assert len(a.deliveries) == 1
        assert len(router.log.find("message")) == 1
        assert not [entry for entry in router.log.entries if entry["level"] == "error"]


def test_a_client_that_is_gone_while_a_plugin_thinks_gets_nothing_delivered(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "from smtp_router import hookimpl\n\n"
        "@hookimpl\n"
        "async def select_downstream(message, downstreams):\n"
        "    await asyncio.sleep(60)\n"
    )
    with (
        Witness() as a,
        Router(settings(user(a, algorithm="./slow.py"), hook_timeout_s=70), tmp_path) as router,
        router.client() as client,
    ):
        submit(client)
        with router.client() as other:
            assert other.command(b"NOOP").code == 250
        client.close()
        router.log.wait("message", outcome="abandoned")
        assert not a.connections


@pytest.mark.parametrize("act", [Act.DROP, Act.RESET])
def test_an_unanswered_dot_and_a_client_gone_is_logged_as_in_doubt(act: Act, tmp_path: Path) -> None:
    gate = Gate(act)
    with (
        Witness({"final": gate}) as a,
        Router(one_user(a), tmp_path) as router,
        router.client() as client,
    ):
        submit(client)
        assert gate.reached.wait(10)
        client.close()
        with router.client() as other:
            assert other.command(b"NOOP").code == 250
        gate.opened.set()
        assert router.log.wait("message")["outcome"] == "in_doubt"
