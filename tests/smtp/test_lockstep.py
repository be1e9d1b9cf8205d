"""A dialogue in which each command has one reply."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiosmtplib
import pytest

from smtp_router.smtp.lockstep import Lockstep


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Lockstep, socket.socket]]:
    """The protocol, and a socket at its other end that has said its banner."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with theirs:
        transport, protocol = await loop.create_connection(lambda: Lockstep(loop), sock=ours)
        theirs.sendall(b"220 hello\r\n")
        assert await protocol.read_response() == (220, "hello")
        yield protocol, theirs
        transport.abort()
        await asyncio.sleep(0)


async def test_a_command_has_a_reply(ends: tuple[Lockstep, socket.socket]) -> None:
    protocol, peer = ends
    replied = asyncio.create_task(protocol.execute_command(b"EHLO router.example"))
    await asyncio.sleep(0)
    peer.sendall(b"250-one\r\n250 two\r\n")
    assert await replied == (250, "one\ntwo")
    assert protocol.in_step
    assert peer.recv(100) == b"EHLO router.example\r\n"


@pytest.mark.parametrize("stray", [b"250 ok\r\n", b"2"])
async def test_no_command_is_said_while_there_is_a_reply_to_none(
    stray: bytes, ends: tuple[Lockstep, socket.socket]
) -> None:
    """As between the steps of a login: the password would go out in answer to something else."""
    protocol, peer = ends
    logging_in = asyncio.create_task(protocol.execute_command(b"AUTH LOGIN"))
    await asyncio.sleep(0)
    peer.sendall(b"334 UGFzc3dvcmQ6\r\n" + stray)
    assert (await logging_in).code == 334
    with pytest.raises(aiosmtplib.SMTPServerDisconnected, match="belongs to no command"):
        await protocol.execute_command(b"c2VjcmV0")
    assert peer.recv(100) == b"AUTH LOGIN\r\n"


async def test_what_is_no_reply_has_code_0(ends: tuple[Lockstep, socket.socket]) -> None:
    protocol, peer = ends
    peer.sendall(b"what?\r\n250 ok\r\n")
    assert (await protocol.read_response()).code == 0
    assert not protocol.in_step


async def test_the_end_is_an_end_for_who_waits(ends: tuple[Lockstep, socket.socket]) -> None:
    protocol, peer = ends
    peer.sendall(b"250 half")
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await protocol.read_response()
    assert not protocol.in_step
