"""Where clients connect: all that have come are taken soon, and nobody any more once it stops."""

import itertools
from contextlib import ExitStack
from threading import Event

import pytest

from smtp_router.smtp.listener import TAKEN_AT_ONCE
from tests.desk import LOOPS, Desk, Loop


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_that_come_at_once_are_taken_at_once(loop: Loop) -> None:
    clients = 2 * TAKEN_AT_ONCE
    with Desk(loop, max_connections=100) as desk, ExitStack() as connected:
        seen, all_seen = [0], Event()

        def turn() -> None:
            seen.append(desk.counts.sessions)
            if seen[-1] < clients:
                desk.loop.call_soon(turn)
            else:
                all_seen.set()

        with desk.held():
            made = [desk.connect(read_banner=False) for _ in range(clients)]
            desk.loop.call_soon_threadsafe(turn)
        for client in made:
            assert connected.enter_context(client).reply().code == 220
        assert all_seen.wait(10)
        assert max(later - before for before, later in itertools.pairwise(seen)) >= TAKEN_AT_ONCE


@pytest.mark.parametrize("loop", LOOPS)
def test_one_that_stops_takes_nobody_any_more(loop: Loop) -> None:
    with Desk(loop) as desk, desk.connect() as client:
        desk.drain()
        assert client.reply().code == 421
        assert client.at_eof()
        with pytest.raises(ConnectionRefusedError):
            desk.connect()
