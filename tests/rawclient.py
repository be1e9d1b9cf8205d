"""A blocking SMTP client: sends the very bytes it is given, takes well-formed replies only."""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

MAX_REPLY_LINE_BYTES: Final = 512  # RFC 5321, 4.5.3.1.5

_REPLY_LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])([\t\x20-\x7e]*))?\r\n")
_ENHANCED = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")


@dataclass(frozen=True, slots=True)
class RawReply:
    """One reply: the code, and of each line what stands behind the code."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463) of the last line; empty if it has none."""
        found = _ENHANCED.match(self.lines[-1])
        return found[0].decode() if found else ""


class RawClient:
    """One connection; with `read_banner=False` the banner is left to the first `reply()`."""

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float = 10,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        read_banner: bool = True,
    ) -> None:
        """Connect, with implicit TLS if `tls` is given, and read the banner."""
        self._buffer = bytearray()
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if tls:
                self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
            self.banner = self.reply() if read_banner else None
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Bytes.

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.sock.sendall(data)

    def fill(self, data: bytes) -> int:
        """Send this over and over until nobody takes more of it; how often that was."""
        whole = data * (65_536 // len(data))
        sent, limit = 0, 2**26
        self.sock.setblocking(False)  # noqa: FBT003 - not ours to name
        try:
            while sent < limit and select.select([], [self.sock], [], 0.3)[1]:
                sent += self.sock.send(whole[sent % len(data) :])
        finally:
            self.sock.settimeout(10)
        assert sent < limit, "it would take everything"
        return sent // len(data)

    def reply(self) -> RawReply:
        """Read one reply; EOFError if the connection ends before it."""
        lines: list[bytes] = []
        first_code = b""
        while True:
            line = self._read_line(inside_reply=bool(lines))
            match = _REPLY_LINE.fullmatch(line)
            assert match, f"malformed reply line {line[:100]!r}"
            assert len(line) <= MAX_REPLY_LINE_BYTES, f"reply line of {len(line)} bytes"
            code, separator, text = match.groups(default=b"")
            first_code = first_code or code
            assert code == first_code, f"codes {first_code!r} and {code!r} in one reply"
            lines.append(text)
            if separator != b"-":
                return RawReply(int(code), tuple(lines))

    def at_eof(self, seconds: float | None = None) -> bool:
        """Wait for a close or a reset; False if bytes come first, or nothing comes in time."""
        if self._buffer:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(before if seconds is None else seconds)
        try:
            self._buffer += self.sock.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.sock.settimeout(before)
        return not self._buffer

    def drain(self) -> None:
        """Take whatever comes until the connection ends."""
        while True:
            try:
                if not self.sock.recv(65536):
                    return
            except ConnectionError:
                return

    def shutdown_write(self) -> None:
        """Close our half: the server reads the end of the stream, and may still answer."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """End the connection without QUIT."""
        self.sock.close()

    # Commands.

    def command(self, line: bytes) -> RawReply:
        """Send one line, CRLF added; return the reply."""
        self.send(line + b"\r\n")
        return self.reply()

    def login(self, user: str, password: str) -> RawReply:
        """AUTH PLAIN with an initial response."""
        return self.command(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()))

    def starttls(self, context: ssl.SSLContext, server_name: str = "localhost") -> RawReply:
        """STARTTLS and, on 220, the handshake."""
        reply = self.command(b"STARTTLS")
        if reply.code == 220:
            assert not self._buffer, f"in clear after the 220: {bytes(self._buffer)!r}"
            self.sock = context.wrap_socket(self.sock, server_hostname=server_name)
        return reply

    def envelope(self, mail_from: bytes, rcpt_tos: Sequence[bytes], *, params: bytes = b"") -> RawReply:
        """MAIL (with `params`) and every RCPT; return the first refusal, or the last reply."""
        reply = self.command(b"MAIL FROM:<" + mail_from + b">" + (b" " + params if params else b""))
        for address in rcpt_tos:
            if reply.code >= 400:
                break
            reply = self.command(b"RCPT TO:<" + address + b">")
        return reply

    def wire(self, content_wire: bytes) -> None:
        """Send DATA and, after the 354, exactly these bytes: stuffing and final dot are yours."""
        reply = self.command(b"DATA")
        assert reply.code == 354, reply
        self.send(content_wire)

    def transaction(
        self, mail_from: bytes, rcpt_tos: Sequence[bytes], content: bytes, *, params: bytes = b""
    ) -> RawReply:
        """Send a message, dots stuffed; return the first refusal (no RSET sent) or the verdict."""
        reply = self.envelope(mail_from, rcpt_tos, params=params)
        if reply.code < 400:
            reply = self.command(b"DATA")
        if reply.code < 400:
            stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
            end = b".\r\n" if not content or content.endswith(b"\r\n") else b"\r\n.\r\n"
            self.send(stuffed + end)
            reply = self.reply()
        return reply

    def _read_line(self, *, inside_reply: bool) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            data = self.sock.recv(65536)
            if not data:
                assert not self._buffer, (
                    f"connection closed within a line: {bytes(self._buffer[:100])!r}"
                )
                assert not inside_reply, "connection closed within a reply"
                raise EOFError("connection closed, no reply")
            self._buffer += data
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line


def ehlo_keywords(reply: RawReply) -> dict[str, str]:
    """Read the extensions off an EHLO reply: keywords in upper case, with their parameters."""
    words = (line.decode("ascii").partition(" ") for line in reply.lines[1:])
    return {keyword.upper(): parameters for keyword, _, parameters in words}
