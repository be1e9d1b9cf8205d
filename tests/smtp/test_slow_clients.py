"""Clients that are slow on purpose: time is up for them, whatever they do now and then."""

import select
from collections.abc import Iterator

import pytest

from smtp_router.smtp import patience
from tests.desk import LOOPS, Desk, Loop
from tests.rawclient import RawClient, RawReply

A, B = b"a@a.example", b"b@b.example"
IDLE = RawReply(421, (b"4.4.2 Idle for too long",))
TOO_SLOW = RawReply(421, (b"4.4.2 The message comes too slowly",))


def drip(client: RawClient, octets: Iterator[bytes]) -> int:
    """Send one after the other until there is an answer; how many have been sent."""
    for sent, octet in enumerate(octets):
        if select.select([client.sock], [], [], 0.02)[0]:
            return sent
        try:
            client.send(octet)
        except ConnectionError:
            return sent
    pytest.fail("it would take everything")


def endless(octets: bytes, times: int = 1000) -> Iterator[bytes]:
    return (octets for _ in range(times))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "lines", [[], [b"EHLO client.example"], [b"EHLO client.example", b"AUTH LOGIN"]], ids=len
)
def test_a_command_that_drips_is_no_sign_of_life(loop: Loop, lines: list[bytes]) -> None:
    """A whole one has to come within `idle_s`."""
    with Desk(loop, idle_s=0.3) as desk, desk.connect() as client:
        for line in lines:
            client.command(line)
        assert drip(client, endless(b"x")) > 1
        assert client.reply() == IDLE
        assert client.at_eof()
        desk.counts.wait(lambda counts: counts.sessions == 0)


def test_a_time_limit_that_changes_counts_in_open_sessions() -> None:
    with Desk(idle_s=300) as desk, desk.connect() as client:
        assert client.command(b"NOOP").code == 250
        desk.change(idle_s=0.1)
        assert client.reply() == IDLE


def test_whole_commands_are_a_sign_of_life() -> None:
    with Desk(idle_s=0.3) as desk, desk.connect() as client:
        for _ in range(10):
            assert not select.select([client.sock], [], [], 0.1)[0]
            assert client.command(b"NOOP").code == 250


def test_octets_of_content_are_a_sign_of_life() -> None:
    """Though not of enough of it: that is the next rule."""
    with Desk(idle_s=0.3) as desk, desk.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(b"Subject: slow\r\n\r\n")
        for _ in range(10):
            assert not select.select([client.sock], [], [], 0.1)[0]
            client.send(b"x")
        client.send(b"\r\n.\r\n")
        assert client.reply().code == 250


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", ["DATA", "BDAT", "BDAT that is refused"])
def test_a_message_that_comes_too_slowly_is_cut_off(
    loop: Loop, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "UPLOAD_GRACE_S", 0.3)
    with Desk(loop, idle_s=2, min_upload_bytes_per_s=1000) as desk, desk.client() as client:
        if by != "BDAT that is refused":
            assert client.envelope(A, [B]).code == 250
        if by == "DATA":
            client.wire(b"Subject: slow\r\n\r\n")
        else:
            client.send(b"BDAT 1000000 LAST\r\n")
        assert drip(client, endless(b"x")) > 1
        assert client.reply() == TOO_SLOW
        assert client.at_eof()
        desk.counts.wait(lambda counts: (counts.sessions, counts.octets) == (0, 0))
        assert not desk.messages


def test_a_message_that_comes_fast_enough_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "UPLOAD_GRACE_S", 0.1)
    with Desk(idle_s=2, min_upload_bytes_per_s=100) as desk, desk.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(b"Subject: steady\r\n\r\n" + 1000 * b"x")
        for _ in range(10):
            assert not select.select([client.sock], [], [], 0.1)[0]
            client.send(1000 * b"x")
        client.send(b"\r\n.\r\n")
        assert client.reply().code == 250


def test_behind_a_slow_message_a_client_may_think(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only content has to come at a pace."""
    monkeypatch.setattr(patience, "UPLOAD_GRACE_S", 0.1)
    with Desk(idle_s=2, min_upload_bytes_per_s=1000) as desk, desk.client() as client:
        assert client.transaction(A, [B], b"one\r\n").code == 250
        assert not select.select([client.sock], [], [], 0.5)[0]
        assert client.transaction(A, [B], b"two\r\n").code == 250
