"""The least that a router in Python can do: a floor that hands on what it is given.

    python -m bench.relay_process PORT [PORT …]

It believes everything, as `floor_process` does, and answers for the content what a downstream has said:
one of these ports of 127.0.0.1, in turns, over connections that are kept. It chooses nothing, checks
nothing, counts nothing and writes nothing down.
"""

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Sequence
from typing import cast

from bench.asked import answer_on_stdin
from bench.floor_process import END, Floor
from smtp_router.cli.loop import run

ENVELOPE = b"MAIL FROM:<app@relay.example>\r\nRCPT TO:<one@relay.example>\r\nDATA\r\n"
REPLIES = 3
"""To the envelope."""


class Downstream(asyncio.Protocol):
    """One connection to a downstream, which takes a message at a time."""

    def __init__(self, between: "Between") -> None:
        """It takes what waits as soon as it may."""
        self._between = between
        self._owed = 1
        self._next = b"HELO relay.example\r\n"
        """What is said when all replies have come; nothing, behind content."""
        self._client: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The banner is to come."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def take(self, content: bytes, client: asyncio.WriteTransport) -> None:
        """Hand over a message; the client hears what the downstream says."""
        self._client = client
        self._next = content
        self._owed = REPLIES
        self._transport.write(ENVELOPE)

    def data_received(self, data: bytes) -> None:
        """Replies have come, a line each."""
        self._owed -= data.count(b"\n")
        if self._owed:
            return
        if self._next:
            self._transport.write(self._next)
            self._next, self._owed = b"", 1
            return
        if self._client is not None:
            self._client.write(data)
        self._between.is_free(self)


class Between:
    """What stands between clients and downstreams."""

    def __init__(self, ports: Sequence[int]) -> None:
        """No connection is open."""
        self._ports = itertools.cycle(ports)
        self._idle: list[Downstream] = []
        self._waiting: deque[tuple[bytes, asyncio.WriteTransport]] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    def hand_on(self, content: bytes, client: asyncio.WriteTransport) -> None:
        """Give a client's message to a downstream."""
        if self._idle:
            self._idle.pop().take(content, client)
            return
        self._waiting.append((content, client))
        opening = asyncio.get_running_loop().create_task(self._open())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def is_free(self, downstream: Downstream) -> None:
        """Have it take what waits."""
        if self._waiting:
            downstream.take(*self._waiting.popleft())
        else:
            self._idle.append(downstream)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Downstream(self), "127.0.0.1", next(self._ports))


class Relay(Floor):
    """One connection of a client."""

    def __init__(self, between: Between) -> None:
        """Hand on to that."""
        self._between = between
        self._content: list[bytes] = []

    def content_received(self, data: bytes) -> None:
        """Content has come, the last of it with its dot."""
        assert self._tail is not None
        self._content.append(data)
        self._tail = (self._tail + data)[-len(END) :]
        if self._tail == END:
            self._tail = None
            content, self._content = self._content, []
            self._between.hand_on(b"".join(content), self._transport)


async def _serve(ports: Sequence[int]) -> None:
    stopping = asyncio.Event()
    between = Between(ports)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Relay(between), "127.0.0.1", 0, backlog=1024)
    async with server:
        answer_on_stdin([server.sockets[0].getsockname()[1]], stopping.set)
        await stopping.wait()


if __name__ == "__main__":
    run(_serve([int(port) for port in sys.argv[1:]]))
