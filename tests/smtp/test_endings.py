"""However a session ends: nobody counts it any more, and nothing of it is left in memory."""

import base64
from collections.abc import Callable, Iterator

import pytest

from tests.desk import LOOPS, Desk
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER

A, B = b"a@a.example", b"b@b.example"


def plain(password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{password}".encode()) + b"\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with Desk(request.param) as desk:
        yield desk


@pytest.mark.parametrize("last", [plain(PASSWORD), plain("wrong"), b"AUTH LOGIN\r\n", b"QUIT\r\n"])
@pytest.mark.parametrize("leave", [RawClient.shutdown_write, RawClient.reset], ids=["end", "reset"])
def test_a_client_gone_as_soon_as_it_has_spoken_is_counted_off(
    desk: Desk, last: bytes, leave: Callable[[RawClient], None]
) -> None:
    """Where an answer cannot be written, that is known before the first step of what comes next."""
    with desk.connect() as client:
        assert client.command(b"EHLO client.example").code == 250
        with desk.held():
            client.send(b"NOOP\r\n" + last)
            leave(client)
        desk.counts.wait(sessions=0)
