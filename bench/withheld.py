"""A downstream that reads content when it is told to, and answers when it is told to."""

import socketserver
import threading
from queue import SimpleQueue
from typing import Self

END_S = 60.0

_ANSWERS = {
    b"EHLO": b"250-withheld.example\r\n250 PIPELINING\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
_TAKEN = b"250 2.0.0 OK\r\n"


class Withheld(socketserver.ThreadingTCPServer):
    """Listens on a port of 127.0.0.1; a context."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self) -> None:
        """Nothing has come."""
        super().__init__(("127.0.0.1", 0), _Session)
        self.port: int = self.server_address[1]
        self.reads, self.answers = threading.Event(), threading.Event()
        """Set, and it reads content, or answers to it."""
        self.begun: SimpleQueue[None] = SimpleQueue()
        """Has an entry for each message whose content was asked for."""
        self.read: SimpleQueue[None] = SimpleQueue()
        """Has an entry for each whose content was read."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reads.set()
        self.answers.set()
        self.shutdown()
        self.server_close()


def wait_for(messages: int, queue: "SimpleQueue[None]") -> None:
    """Wait until so many have come that far.

    Raises:
        queue.Empty: they have not, for a minute.
    """
    for _ in range(messages):
        queue.get(timeout=END_S)


class _Session(socketserver.StreamRequestHandler):
    server: Withheld  # type: ignore[mutable-override]  # it is made by none else

    def handle(self) -> None:
        self.wfile.write(b"220 withheld.example ESMTP\r\n")
        for command in self.rfile:
            verb = command[:4].upper()
            self.wfile.write(_ANSWERS.get(verb, _TAKEN))
            if verb == b"DATA":
                self._take()
            elif verb == b"QUIT":
                break

    def _take(self) -> None:
        self.server.begun.put(None)
        self.server.reads.wait(END_S)
        while self.rfile.readline() not in {b".\r\n", b""}:
            pass
        self.server.read.put(None)
        self.server.answers.wait(END_S)
        self.wfile.write(_TAKEN)
