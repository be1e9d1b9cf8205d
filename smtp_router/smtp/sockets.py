"""The sockets that a listener listens on: its own, or those that systemd has opened for it."""

import fcntl
import os
import socket
import stat
import struct
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress

from smtp_router.config.types import HostPort, SystemdSocket, UnixPath

BACKLOG = 4096
"""How many connections may wait to be accepted; fewer where the system says so (net.core.somaxconn).

Of 2,000 clients that come at once, those that find no room try again after 1, 3 and 7 seconds.
"""
_FIRST_FD = 3
_NONE = bytes(struct.calcsize("i"))
"""The system's count of the octets that wait, where there are none."""


def listening_sockets(
    address: HostPort | UnixPath | SystemdSocket,
    environ: Mapping[str, str] = os.environ,
    *,
    shared: bool = False,
) -> list[socket.socket]:
    """The sockets for an address, listening and not blocking.

    Args:
        address: a name may stand for several addresses, each of which gets a socket.
        environ: where systemd says what it passes.
        shared: whether `siblings` are to listen beside those of a TCP port.

    Raises:
        OSError: the address cannot be listened on, or systemd passes no such socket.
    """
    if isinstance(address, HostPort):
        sockets = _tcp(address, shared=shared)
    elif isinstance(address, UnixPath):
        sockets = [unix_socket(address.path)]
    else:
        sockets = [_passed(address.name, environ)]
    for each in sockets:
        each.setblocking(False)  # noqa: FBT003 - not ours to name
    return sockets


def siblings(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """More sockets that listen at the same places: the kernel spreads the clients over all of them.

    Args:
        sockets: TCP sockets that are `shared`.

    Raises:
        OSError: they cannot listen there.
    """
    made: list[socket.socket] = []
    try:
        for one in sockets:
            each = socket.socket(one.family, one.type, one.proto)
            made.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _begin(each, one.getsockname())
            each.setblocking(False)  # noqa: FBT003 - not ours to name
    except OSError:
        for each in made:
            each.close()
        raise
    return made


def has_spoken(descriptor: int) -> bool:
    """Whether octets wait to be read from a connection."""
    waiting = bytearray(_NONE)  # filled in: to be given octets takes ioctl half as long again
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    except (OSError, ValueError):  # closed already
        return False
    return waiting != _NONE


def _tcp(address: HostPort, *, shared: bool) -> list[socket.socket]:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, place in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            _begin(each, (place[0], port, *place[2:]), shared=shared)
            port = each.getsockname()[1]  # the same for all, where it was left open
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _begin(each: socket.socket, place: Sequence[object], *, shared: bool = False) -> None:
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if each.family == socket.AF_INET6:
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    each.bind(tuple(place))
    if shared:  # only now: the port must not be another program's that would share it, too
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.listen(BACKLOG)


def unix_socket(path: str, *, mode: int | None = None) -> socket.socket:
    """A Unix socket that listens; a stale one of that name is replaced, anything else is left alone.

    Args:
        path: where it is.
        mode: its permissions, which it has before anybody can connect; by default, those of the umask.

    Raises:
        OSError: it cannot be there.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and _is_stale(path):  # noqa: PTH116 - a str
            os.unlink(path)  # noqa: PTH108 - as above
    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        each.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # noqa: PTH101 - as above
        each.listen(BACKLOG)
    except OSError:
        each.close()
        raise
    return each


def _is_stale(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def _passed(name: str, environ: Mapping[str, str]) -> socket.socket:
    """A socket from systemd's hands (sd_listen_fds(3))."""
    count = int(environ.get("LISTEN_FDS") or 0) if environ.get("LISTEN_PID") == str(os.getpid()) else 0
    names = (environ.get("LISTEN_FDNAMES") or "").split(":")
    for position in range(count):
        if not name or (position < len(names) and names[position] == name):
            return socket.socket(fileno=os.dup(_FIRST_FD + position))
    message = f"systemd passes no socket {name}".rstrip()
    raise OSError(message)
