"""Clients that are quick on purpose: the others have their turn, and the log stays short."""

import logging
import socket

import pytest

from smtp_router import Reply
from tests.desk import LOOPS, Desk, Loop

EHLO = b"EHLO client.example\r\n"
NOOP = b"NOOP\r\n"


class Diary(Desk):
    """Notes who says MAIL, in which order; nobody has to log in."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.senders: list[str] = []

    def user_at(self, address: str) -> str:
        return address

    def mail_refusal(self, user: str, mail_from: str) -> Reply | None:
        del user
        self.senders.append(mail_from)
        return None


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("flood", [10_000 * NOOP, 30_000 * b"\r\n", 20_000 * NOOP], ids=len)
def test_a_flood_of_commands_in_one_segment_does_not_keep_others_waiting(
    loop: Loop, flood: bytes
) -> None:
    """Though it came first, what is behind it comes last; up to 64 KB come in one segment here."""
    with Diary(loop) as desk, desk.connect() as flooding, desk.connect() as other:
        flooding.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        for client in (flooding, other):
            assert client.command(EHLO[:-2]).code == 250
        with desk.held():
            flooding.send(flood + b"MAIL FROM:<flood@a.example>\r\n")
            other.send(b"MAIL FROM:<other@a.example>\r\n")
        assert other.reply().code == 250
        for _ in range(flood.count(b"\n")):
            flooding.reply()
        assert flooding.reply().code == 250
    assert desk.senders == ["other@a.example", "flood@a.example"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_flood_is_answered_to_its_end_though_the_client_sends_no_more(loop: Loop) -> None:
    """What is left for the next turn is not forgotten, nor are its commands mixed with later ones."""
    with Desk(loop) as desk, desk.connect() as client:
        client.send(EHLO + 250 * NOOP + b"VRFY x\r\n" + 250 * NOOP)
        codes = [client.reply().code for _ in range(502)]
        client.send(150 * NOOP + b"HELP\r\n")
        codes += [client.reply().code for _ in range(151)]
    assert codes == [250, *250 * [250], 252, *250 * [250], *150 * [250], 214]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("count", [98, 99, 100, 101, 199, 200])
def test_content_may_begin_at_the_end_of_a_turn(loop: Loop, count: int) -> None:
    """Whatever comes as the last step of a turn, nothing of it is lost."""
    with Diary(loop) as desk, desk.connect() as client:
        for body in (
            b"DATA\r\n..one\r\n.\r\n",
            b"BDAT 5\r\nNOOP\nBDAT 5 LAST\r\nNOOP\n",
            b"AUTH LOGIN\r\n*\r\nDATA\r\n.\r\n",
        ):
            start = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"
            client.send(b"RSET\r\n" + EHLO + start + count * NOOP + body + b"QUITE\r\n")
            codes: list[int] = []
            while not codes or codes[-1] != 500:
                codes.append(client.reply().code)
            assert codes[4 : 4 + count] == count * [250]
            assert codes[4 + count :] in (
                [354, 250, 500],
                [250, 550, 500],
                [334, 501, 354, 250, 500],
            )
    assert [message.content for message in desk.messages] == [b".one\r\n", b""]


def flooded(desk: Desk, times: int) -> None:
    for _ in range(times):
        with desk.connect() as client:
            assert client.banner
            assert client.banner.code == 421


def test_a_flood_of_one_kind_is_one_line_of_the_log_per_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lines() -> list[object]:
        refused = [one for one in caplog.records if one.getMessage() == "connection refused"]
        return [vars(one)["fields"].get("left_out") for one in refused]

    with Desk(max_connections=1) as desk, desk.connect():
        flooded(desk, 20)
        assert lines() == [None]
        desk.clock.advance(1)
        flooded(desk, 3)
        assert lines() == [None, 19]
        desk.clock.advance(1)
        flooded(desk, 1)
        assert lines() == [None, 19, 2]


def test_headers_and_handshakes_that_fail_are_one_line_of_the_log_per_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with Desk(listen=[{"addr": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1/32"]}]) as desk:
        for seconds in range(2):
            desk.clock.advance(seconds)
            for _ in range(10):
                with desk.connect(read_banner=False) as client:
                    client.send(b"no header\r\n")
                    assert client.at_eof()
    failed = [one for one in caplog.records if one.getMessage() == "connection not begun"]
    assert [vars(one)["fields"].get("left_out") for one in failed] == [None, 9]


def test_each_kind_of_trouble_has_its_own_line(caplog: pytest.LogCaptureFixture) -> None:
    with Desk(idle_s=0.2) as desk:
        with desk.held():
            early = desk.connect(read_banner=False)
            early.send(EHLO)
        with early, desk.connect() as silent:
            assert early.reply().code == 421
            assert silent.reply().code == 421
    events = [one.getMessage() for one in caplog.records if one.name == "smtp_router.smtp.guard"]
    assert sorted(events) == ["client timed out", "spoke before the banner"]
