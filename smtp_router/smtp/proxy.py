"""The PROXY protocol, v1 and v2: who the client really is, told by a balancer that is trusted.

The header is read off the socket before anything else sees it, to the octet: what follows may be a TLS
handshake. Reading is aiosmtpd's own; this gives it exactly the octets that it asks for.
"""

import asyncio
import socket

from aiosmtpd.proxy_protocol import AF, V2_CMD, get_proxy

from smtp_router.core.address import unmapped

HEADER_S = 5.0
"""How long a proxy may take: it sends the header with its first packet."""
MAX_V1_OCTETS = 107


class NoHeaderError(Exception):
    """A trusted proxy did not begin with a valid header."""


async def read_header(client: socket.socket) -> tuple[str, int] | None:
    """Read the PROXY header from a connection.

    Args:
        client: an accepted socket, not blocking, of which nothing has been read.

    Returns:
        The client's address and port; `None` when the header does not name one (LOCAL, UNKNOWN: the
        proxy speaks for itself).

    Raises:
        NoHeaderError: there is none, or it is malformed or late.
    """
    try:
        async with asyncio.timeout(HEADER_S):
            data = await get_proxy(_SocketReader(client))
    except (OSError, EOFError, TimeoutError) as error:
        raise NoHeaderError(str(error)) from error
    if not data.valid:
        raise NoHeaderError(data.error)
    # Without a stream's protocol (v2) aiosmtpd reads no address.
    if data.command == V2_CMD.LOCAL or data.family not in (AF.INET, AF.INET6) or not data.src_addr:
        return None
    return unmapped(str(data.src_addr)), int(data.src_port or 0)


class _SocketReader:
    """What aiosmtpd's parser reads from, without ever reading ahead."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()

    async def read(self, n: int = -1) -> bytes:
        return await self.readexactly(n)

    async def readexactly(self, n: int) -> bytes:
        octets = b""
        while len(octets) < n:
            piece = await self._loop.sock_recv(self._client, n - len(octets))
            if not piece:
                raise EOFError
            octets += piece
        return octets

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        octets = b""
        while not octets.endswith(separator) and len(octets) <= MAX_V1_OCTETS:
            octets += await self.readexactly(1)
        return octets
