"""The way to a downstream's socket."""

import asyncio
import os
import socket
from ipaddress import ip_address

import pytest

from smtp_router.config.types import HostPort
from smtp_router.smtp.dialing import dial

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_who_refuses_a_connection_is_named() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        address = deaf.getsockname()
        with pytest.raises(ConnectionRefusedError) as caught:
            await dial(HostPort(host=address[0], port=address[1]), None, asyncio.Protocol, 5)
    assert str(caught.value) == f"[Errno {caught.value.errno}] Connect call failed {address}"


async def test_an_address_that_is_not_ours_is_no_fault_of_the_downstreams() -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        await dial(HostPort(host="127.0.0.1", port=9), ip_address("192.0.2.1"), asyncio.Protocol, 5)
    code = caught.value.errno
    assert code is not None
    assert str(caught.value) == f"[Errno {code}] {os.strerror(code)}"


async def test_a_connection_sends_without_delays() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        transport, _ = await dial(HostPort(host="127.0.0.1", port=port), None, asyncio.Protocol, 5)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()
        await asyncio.sleep(0)
