"""What a crew listens on, opened by the parent before there is any worker.

A TCP port has a socket for each worker, and Linux spreads new clients over them by a hash (SO_REUSEPORT,
socket(7)), so no worker is woken up for another's client. Everything else is one socket that all workers
have: whoever is quicker takes the client. So it is for TCP on other systems, too, where SO_REUSEPORT
does not spread anything.

A worker's sockets stay open with the parent when it dies, and who waits there to be let in is let in by
the next one. If that one has to wait to be started, they are closed, and clients come to others.
"""

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from smtp_router.config.settings import Listener
from smtp_router.config.types import HostPort, SystemdSocket, UnixPath
from smtp_router.smtp.sockets import listening_sockets, siblings

SPREADS = sys.platform == "linux"
"""Whether the kernel spreads clients over sockets that share a port."""


class Listening:
    """All sockets of all listeners."""

    def __init__(self, listeners: Sequence[Listener], workers: int) -> None:
        """Open them.

        Raises:
            OSError: an address (its `filename`) cannot be listened on; the others are closed again.
        """
        self._listeners = listeners
        self._of: list[list[list[socket.socket]]] = []  # by listener and worker
        for listener in listeners:
            try:
                self._of.append(self._opened(listener, workers))
            except OSError as error:
                self.close()
                number = error.errno or 0
                reason = os.strerror(number) if number > 0 else error.strerror  # below 0: no such host
                raise OSError(number, reason or str(error), str(listener.addr)) from error
        self._places = [[each.getsockname() for each in sockets[0]] for sockets in self._of]

    def addresses(self) -> list[HostPort | UnixPath | SystemdSocket]:
        """Where it listens, in the configuration's order, with the real ports."""
        found: list[HostPort | UnixPath | SystemdSocket] = []
        for listener, places in zip(self._listeners, self._places, strict=True):
            addr = listener.addr
            if isinstance(addr, HostPort):
                addr = HostPort(host=addr.host, port=places[0][1])
            found.append(addr)
        return found

    def of(self, worker: int) -> list[list[socket.socket]]:
        """A worker's sockets, for each listener; opened again if they were closed.

        Raises:
            OSError: they cannot be.
        """
        for sockets in self._of:
            if not sockets[worker]:
                others = next(filter(None, sockets), [])
                sockets[worker] = siblings(others)
        return [sockets[worker] for sockets in self._of]

    def close_of(self, worker: int) -> None:
        """Have no clients wait for a worker that is not there, if there are others."""
        for sockets in self._of:
            others = [each for each in sockets if each is not sockets[worker] and each]
            if others and len(others) + 1 == len(list(filter(None, sockets))):
                _close(sockets[worker])
                sockets[worker] = []

    def close(self) -> None:
        """Let nobody in any more. Unix sockets are removed."""
        for listener, sockets in zip(self._listeners, self._of, strict=False):
            for each in sockets:
                _close(each)
            if isinstance(listener.addr, UnixPath):
                with suppress(OSError):
                    os.unlink(listener.addr.path)  # noqa: PTH108 - a str

    def _opened(self, listener: Listener, workers: int) -> list[list[socket.socket]]:
        spreads = SPREADS and isinstance(listener.addr, HostPort)
        first = listening_sockets(listener.addr, shared=spreads)
        if not spreads:
            return [first] * workers
        return [first, *(siblings(first) for _ in range(workers - 1))]


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
