"""A listening socket that can refuse without losing its port."""

import asyncio
import socket
from collections.abc import Callable

HOST = "127.0.0.1"
BACKLOG = 1024


class Door:
    """A port of 127.0.0.1; at first nobody listens there."""

    def __init__(self, welcome: Callable[[socket.socket], None]) -> None:
        """Take a free port; `welcome` gets each connection."""
        self._loop = asyncio.get_running_loop()
        self._welcome = welcome
        self._is_open = False
        self._socket = self._bound(0)
        self.port: int = self._socket.getsockname()[1]

    def open(self) -> None:
        """Take connections."""
        if not self._is_open:
            self._socket.listen(BACKLOG)
            self._loop.add_reader(self._socket.fileno(), self._accept)
            self._is_open = True

    def shut(self) -> None:
        """Refuse connections; also those that wait to be taken."""
        if self._is_open:
            self.leave()
            self._socket = self._bound(self.port)

    def leave(self) -> None:
        """Give up the port."""
        if self._is_open:
            self._loop.remove_reader(self._socket.fileno())
            self._is_open = False
        self._socket.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has thought better of it
        sock.setblocking(False)  # noqa: FBT003 - not ours to name
        # asyncio does so only for sockets that name their protocol; without, pipelining waits for 40 ms
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._welcome(sock)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        """A socket that holds a port; connections to it are refused, as nobody listens."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003 - not ours to name
        sock.bind((HOST, port))
        return sock
