"""One connection of a scripted downstream, as octets: reading up to a mark, writing, ways to end."""

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import cast

PART_S = 1.0
"""How long a peer that was said good-bye may take to close."""
HANDSHAKE_S = 60.0


class GoneError(Exception):
    """The connection has ended."""


class Wire(asyncio.Protocol):
    """A connection that takes what comes, and hands it out in pieces."""

    def __init__(self, *, paused: bool = False) -> None:
        """Not connected yet; `paused`: what comes first is not for us."""
        self.transport: asyncio.Transport
        self.octets: bytearray = bytearray()
        self._paused = paused
        self._is_over = False
        self._news = asyncio.Event()
        self.gone: asyncio.Event = asyncio.Event()
        """Set when the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        if self._paused:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.octets += data
        self._news.set()

    def eof_received(self) -> None:
        """Nothing more will come."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """All is over."""
        self._end()
        self.gone.set()

    def _end(self) -> None:
        self._is_over = True
        self._news.set()

    async def more(self) -> None:
        """Wait until more has come.

        Raises:
            GoneError: nothing more will come.
        """
        self._news.clear()
        if self._is_over:
            raise GoneError
        await self._news.wait()

    async def read_to(self, mark: bytes) -> bytes:
        """Read up to a mark, which is dropped.

        Raises:
            GoneError: the connection ends before it.
        """
        searched = 0
        while (end := self.octets.find(mark, searched)) < 0:
            searched = max(0, len(self.octets) - len(mark) + 1)
            await self.more()
        found = bytes(self.octets[:end])
        del self.octets[: end + len(mark)]
        return found

    def write(self, octets: bytes) -> None:
        """Send; raises GoneError if nobody is there any more."""
        if self.transport.is_closing():
            raise GoneError
        self.transport.write(octets)

    async def encrypt(self, context: ssl.SSLContext) -> None:
        """Do the handshake; what came in clear is forgotten (RFC 3207 4.2)."""
        self.octets.clear()
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, TimeoutError) as error:
            raise GoneError from error
        if encrypted is None:
            raise GoneError
        self.transport = encrypted

    async def part(self) -> None:
        """Close in order: what was said still arrives, even if the peer is busy sending."""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            with contextlib.suppress(OSError, TimeoutError):  # the peer may be faster
                self.transport.write_eof()
                async with asyncio.timeout(PART_S):
                    await self.gone.wait()
        self.transport.close()

    def reset(self) -> None:
        """End with a TCP reset."""
        if (sock := self.transport.get_extra_info("socket")) is not None:
            linger_no_time(sock)
        self.transport.abort()


def linger_no_time(sock: socket.socket) -> None:
    """Have this socket reset its connection when it is closed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
