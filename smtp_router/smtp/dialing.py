"""The way to a downstream's socket."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from smtp_router.config.types import HostPort, UnixPath

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


async def dial(
    addr: HostPort | UnixPath, source: IPv4Address | IPv6Address | None, seconds: float
) -> socket.socket:
    """Connect to the first of a host's addresses that answers, or to a Unix socket.

    The addresses share the time, so that one behind a silent firewall leaves some for the next.

    Args:
        addr: where to.
        source: the address of this machine to connect from; then only addresses of its kind are tried.
        seconds: how long it may take.

    Raises:
        OSError: the host is not known, or nothing answers.
    """
    loop = asyncio.get_running_loop()
    if isinstance(addr, UnixPath):
        return await _connected(socket.socket(socket.AF_UNIX), addr.path, seconds)
    family = _FAMILIES[source.version] if source else socket.AF_UNSPEC
    found = await loop.getaddrinfo(addr.host, addr.port, family=family, type=socket.SOCK_STREAM)
    last = OSError(f"no address for {addr.host}")
    for found_family, kind, protocol, _, address in found:
        peer = socket.socket(found_family, kind, protocol)
        try:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without delays (Nagle)
            if source is not None:
                peer.bind((str(source), 0))
        except OSError as error:
            peer.close()
            last = error
            continue
        try:
            return await _connected(peer, address, seconds / len(found))
        except OSError as error:
            last = error
    raise last


async def _connected(
    peer: socket.socket, address: tuple[Any, ...] | str, seconds: float
) -> socket.socket:
    try:
        peer.setblocking(False)  # noqa: FBT003 - not ours to name
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(peer, address)
    except BaseException:
        peer.close()
        raise
    return peer
