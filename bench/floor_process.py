"""The least that a server in Python can do and still pass for SMTP: the floor below every other one.

    python -m bench.floor_process

It answers by the first letter of each line, believes everything, and keeps nothing.
"""

import asyncio
from typing import cast

from bench.asked import answer_on_stdin
from smtp_router.cli.loop import run

ANSWERS = {b"A": b"235 OK\r\n", b"D": b"354 Go on\r\n", b"Q": b"221 Bye\r\n"}
OTHERWISE = b"250 OK\r\n"
END = b"\r\n.\r\n"


class Floor(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's do not inherit from it
        self._tail: bytes | None = None
        self._transport.write(b"220 floor.example\r\n")

    def data_received(self, data: bytes) -> None:
        """Octets have come: whole lines, or content."""
        if self._tail is not None:
            self.content_received(data)
            return
        lines = data.splitlines()
        self._transport.write(b"".join([ANSWERS.get(line[:1], OTHERWISE) for line in lines]))
        if lines[-1] == b"DATA":
            self._tail = b""
        elif lines[-1] == b"QUIT":
            self._transport.close()

    def content_received(self, data: bytes) -> None:
        """Content has come, the last of it with its dot."""
        assert self._tail is not None
        self._tail = (self._tail + data)[-len(END) :]
        if self._tail == END:
            self._tail = None
            self._transport.write(OTHERWISE)


async def _serve() -> None:
    stopping = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", 0, backlog=1024)
    async with server:
        answer_on_stdin([server.sockets[0].getsockname()[1]], stopping.set)
        await stopping.wait()


if __name__ == "__main__":
    run(_serve())
