"""Clients in Python, for what `load.c` cannot do: TLS, silence, and hurry in the wrong places."""

import base64
import resource
import socket
import ssl
from contextlib import suppress
from typing import Self

from bench.contestants import PASSWORD, USER

TIMEOUT_S = 60.0
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


class UnexpectedError(Exception):
    """A reply is not the one that was expected; the text is that reply."""


class Client:
    """One connection, which waits for each reply; a context."""

    def __init__(self, port: int, *, implicit_tls: bool = False) -> None:
        """Connect to 127.0.0.1 and hear the banner.

        Args:
            port: where to.
            implicit_tls: whether TLS comes first.
        """
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if implicit_tls:
            self.socket = _tls_context().wrap_socket(self.socket)
        self._replies = self.socket.makefile("rb")
        self._expect(220)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self.socket.close()

    def say(self, line: str, code: int = 250) -> None:
        """Say a command, and hear what is expected.

        Raises:
            UnexpectedError: something else came.
        """
        self.send(line.encode() + b"\r\n", code)

    def send(self, octets: bytes, code: int = 250) -> None:
        """Send octets, and hear what is expected.

        Raises:
            UnexpectedError: something else came.
        """
        self.socket.sendall(octets)
        self._expect(code)

    def greet(self) -> None:
        """EHLO."""
        self.say("EHLO client.example")

    def log_in(self) -> None:
        """AUTH."""
        self.say(f"AUTH PLAIN {PLAIN}", 235)

    def envelope(self) -> None:
        """MAIL and RCPT."""
        self.say("MAIL FROM:<a@client.example>")
        self.say("RCPT TO:<b@elsewhere.example>")

    def message(self, content: bytes) -> None:
        """One message; its content with dots stuffed and the final one."""
        self.envelope()
        self.say("DATA", 354)
        self.send(content)

    def leave(self) -> None:
        """QUIT, and wait until the server has closed the connection."""
        self.say("QUIT", 221)
        self._replies.read()
        self.__exit__()

    def _expect(self, code: int) -> None:
        line = self._replies.readline()
        while line[3:4] == b"-":  # the reply goes on (RFC 5321 4.2.1)
            line = self._replies.readline()
        if not line.startswith(b"%d" % code):
            raise UnexpectedError(line.decode(errors="replace").strip() or "closed")


def _tls_context() -> ssl.SSLContext:
    """TLS that verifies nothing: what that costs is the client's, and not measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def allow_files() -> None:
    """Let this process open as many files as it may, which is a client each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a limit of its own below "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
