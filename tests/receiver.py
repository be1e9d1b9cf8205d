"""A receiver of webhooks to test against: a real HTTP server on loopback, with scripted answers."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple, Self

WAIT_S: Final = 10.0

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Taken(NamedTuple):
    """A request as it came: names of fields in lower case."""

    path: str
    fields: Mapping[str, str]
    body: bytes
    connection: int


class Sink:
    """Where an answer goes."""

    def __init__(self, connection: socket.socket, released: threading.Event) -> None:
        """For one request."""
        self.connection = connection
        self.released = released
        self.over = False
        """Whether the connection is of no further use."""


Answer = Callable[[Sink], None]


def status(code: int, *fields: str, body: bytes = b"") -> Answer:
    """A plain answer, with these fields."""
    lines = [f"HTTP/1.1 {code} x", f"Content-Length: {len(body)}", *fields]
    octets = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body
    return lambda sink: sink.connection.sendall(octets)


def hang(sink: Sink) -> None:
    """No answer, until the receiver is closed or released."""
    sink.released.wait(WAIT_S)
    sink.over = True


def reset(sink: Sink) -> None:
    """A reset connection."""
    sink.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sink.over = True


def break_off(sink: Sink) -> None:
    """Half an answer."""
    sink.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    sink.over = True


def hang_in_the_body(sink: Sink) -> None:
    """A good answer, and a body that does not come."""
    sink.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    hang(sink)


def never_end(sink: Sink) -> None:
    """A good answer, and a body that goes on for as long as anybody reads it."""
    sink.over = True
    with suppress(OSError):
        sink.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not sink.released.is_set():
            sink.connection.sendall(bytes(100_000))


class Receiver:
    """Takes requests, and answers each with the next answer of the script; then with 200."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        """Listen."""
        self._answers = list(answers)
        self.requests: list[Taken] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1
                self.number = receiver.connections

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.take(Taken(self.path, fields, body, self.number))
                sink = Sink(self.connection, receiver._released)
                answer(sink)
                self.close_connection = sink.over

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that has gone is none."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{self.port}/hook?token=sesame"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join(WAIT_S)
        self._server.server_close()

    def release(self) -> None:
        """End all that hang."""
        self._released.set()

    def take(self, request: Taken) -> Answer:
        """Keep a request, and find its answer."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self._answers.pop(0) if self._answers else lambda sink: sink.connection.sendall(OK)

    def wait(self, times: int = 1) -> list[Taken]:
        """Wait until so many requests have come; not from an event loop."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= times, WAIT_S), self.requests
            return list(self.requests)
