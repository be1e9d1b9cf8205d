"""Who says yes to Postfix's logins: a server of Dovecot's authentication protocol.

Postfix asks such a server instead of a database below /etc, so that nothing there has to be written.

Source: Dovecot's "Authentication Protocol", version 1.1.
"""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.contestants import USER

_GREETING = (
    "VERSION\t1\t1\n"
    "MECH\tPLAIN\tplaintext\n"
    "SPID\t1\n"
    "CUID\t1\n"
    "COOKIE\t00000000000000000000000000000000\n"
    "DONE\n"
)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(_GREETING.encode())
        for line in self.rfile:
            verb, *arguments = line.decode().rstrip("\n").split("\t")
            if verb == "AUTH":
                self.wfile.write(f"OK\t{arguments[0]}\tuser={USER}\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 250


@contextmanager
def logins() -> Iterator[int]:
    """Say yes to everybody; the port on 127.0.0.1 where it does."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
