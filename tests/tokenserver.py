"""A token endpoint on this machine: the standard library's HTTP server, scripted."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self
from urllib.parse import parse_qs

WAIT_S = 10
REFRESH_TOKEN = "r3fresh-0"
CLIENT_SECRET = "cl1ent-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the endpoint says."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    location: str = ""


def token(text: str, **more: object) -> Answer:
    """An access token."""
    given = {"access_token": text, "token_type": "Bearer", "expires_in": 3600} | more
    return Answer(body=json.dumps(given).encode())


def error(code: str, status: int = 400) -> Answer:
    """A refusal that repeats what it was sent, as one may."""
    description = f"no good: {REFRESH_TOKEN} {CLIENT_SECRET}"
    return Answer(
        body=json.dumps({"error": code, "error_description": description}).encode(), status=status
    )


class TokenServer:
    """The endpoint: what it says, and what it was asked."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        """Nothing listens yet.

        Args:
            answers: one after the other, the last one again and again.
            tls: for `https`.
        """
        self.answers = answers
        self._tls = tls
        self.forms: list[dict[str, str]] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        """While it is not set, nobody is answered."""
        self.gate.set()

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout: ClassVar[float | None] = WAIT_S
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.serve(self)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients that leave are what the tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)

    @property
    def url(self) -> str:
        """Where it is."""
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self._server.server_address[1]}/token?tenant=a"

    def auth(self, **more: object) -> dict[str, object]:
        """A downstream's `auth` in the configuration."""
        return {
            "type": "xoauth2",
            "token_url": self.url,
            "client_id": "router",
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
        } | more

    def wait_asked(self, times: int) -> None:
        """Wait until it was asked so often."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.forms) >= times, WAIT_S), self.forms

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        form = request.rfile.read(int(request.headers["Content-Length"])).decode()
        with self.changed:
            self.forms.append({key: values[0] for key, values in parse_qs(form).items()})
            number = len(self.forms)
            self.changed.notify_all()
        assert self.gate.wait(WAIT_S)
        answer = self.answers[min(number, len(self.answers)) - 1]
        request.send_response(answer.status)
        request.send_header("Content-Type", answer.kind)
        if answer.location:
            request.send_header("Location", answer.location)
        request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        request.wfile.write(answer.body)
