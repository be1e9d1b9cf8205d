"""What a router does with its sockets: no delays, and none left behind."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvloop

from tests.running import Router, one_user
from tests.script import DROP, HANG, NORMAL, RESET, Plan
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
DESCRIPTORS = Path("/dev/fd")

Loop = Callable[[], asyncio.AbstractEventLoop]
pytestmark = [
    pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="no /dev/fd here to see all sockets with"),
    pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop]),
]


def own_sockets() -> Iterator[socket.socket]:
    """Duplicates of all TCP sockets of this process, the router's among them."""
    for entry in tuple(DESCRIPTORS.iterdir()):
        try:
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            duplicate = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:  # closed meanwhile
            continue
        with closing(duplicate):
            if duplicate.family == socket.AF_INET and duplicate.type == socket.SOCK_STREAM:
                yield duplicate


def ends(sock: socket.socket) -> tuple[int, int]:
    """The ports at both ends; none for a socket that listens."""
    try:
        return sock.getsockname()[1], sock.getpeername()[1]
    except OSError:
        return 0, 0


def test_nagle_is_off_on_both_sides(loop: Loop, tmp_path: Path) -> None:
    with (
        Witness({"final": HANG}) as a,
        Router(one_user(a), tmp_path, loop_factory=loop) as router,
        router.client() as client,
    ):
        assert client.envelope(A, [B]).code == 250
        client.wire(HELLO + b".\r\n")
        a.wait_for(lambda: a.hanging)
        mine = client.sock.getsockname()[1]
        upstream = downstream = 0
        for sock in own_sockets():
            nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if ends(sock) == (router.port, mine):
                upstream += 1
                assert nodelay
            elif ends(sock)[1] == a.port:
                downstream += 1
                assert nodelay
        assert (upstream, downstream) == (1, 1)
        a.release()
        assert client.reply().code == 451


SCRIPTS: dict[str, Plan] = {
    "banner": [DROP, RESET, b"554 5.3.2 no", b"what?", NORMAL],
    "ehlo": [b"421 4.3.2 closing", DROP, NORMAL],
    "mail": [RESET, b"550 5.7.1 no", NORMAL],
    "rcpt": [b"450 4.2.1 busy", b"421 4.3.2 closing", NORMAL],
    "final": [DROP, RESET, b"451 4.3.0 later", NORMAL],
}


def test_no_descriptor_is_left_behind(loop: Loop, tmp_path: Path) -> None:
    with Witness(SCRIPTS) as a, Router(one_user(a), tmp_path, loop_factory=loop) as router:
        for number in range(30):
            with router.client() as client:
                client.transaction(A, [B], HELLO)
                if number % 3 == 0:
                    client.reset()
        with router.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
            mine = {ends(client.sock), ends(client.sock)[::-1]}
            left: set[tuple[int, int]] = set()
            for _ in range(1000):  # each is a turn of the router's loop, which is closing the others
                assert client.command(b"NOOP").code == 250
                left = {one for one in map(ends, own_sockets()) if {a.port, router.port} & set(one)}
                if mine <= left and len(left) == len(mine) + 2:
                    break
            kept = left - mine
            assert mine <= left
            assert len(kept) == 2, "one connection to the downstream is kept: its two ends"
            assert all(a.port in one for one in kept)
