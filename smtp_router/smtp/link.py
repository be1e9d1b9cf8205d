"""One client's connection, below what is said on it: the only aiosmtpd import.

aiosmtpd's class is the base: the exchange of AUTH challenges is its business. Its line-by-line command
loop, its parsers, its timer and its error replies are not used (see `docs/design.md`).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiosmtpd.smtp import SMTP

from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.wire import MAX_LINE_OCTETS, Wire

MAX_PIPELINED_OCTETS = 128 * 1024
"""A client that sends more while it should wait for a reply is not read from until it gets one."""


class Link(SMTP):
    """The transport, what has come over it, and when it is closed; see `shared_attributes`."""

    line_length_limit = MAX_LINE_OCTETS
    _outbox: Outbox
    _now: Callable[[], float]

    # How every connection begins
    transport: asyncio.Transport | None = None  # type: ignore[mutable-override]  # all of ours are
    _peer = ("", 0)  # no address: a Unix socket
    _peer_is_told = False
    _closing_since: float | None = None
    _is_idle = False  # the next octets begin a command, or content, and nothing else is under way
    _challenged = False
    _is_paused = False
    _is_unread = False

    def __init__(self, peer: tuple[str, int] | None = None) -> None:
        """Be ready for a connection.

        Args:
            peer: the client's address and port, where a proxy has told them.
        """
        # The base class's constructor has run once, for all: see `shared_attributes`.
        self._wire = Wire()
        if peer is not None:
            self._peer = peer
            self._peer_is_told = True

    async def _handle_client(self) -> None:
        """aiosmtpd's command loop: nothing is left of it, `data_received` has taken its place."""

    def pause_writing(self) -> None:
        """The client does not read its replies: then nothing more is read from it."""
        self._is_unread = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_unread = False
        self._resume_reading()

    def _begin_closing(self) -> None:
        self._is_idle = False
        if self._closing_since is None:
            self._closing_since = self._now()

    def _close(self) -> None:
        self._begin_closing()
        if self.transport is not None:
            self._outbox.write(self.transport, None)

    def _write(self, octets: bytes) -> None:
        if octets and self.transport is not None and not self.transport.is_closing():
            self._outbox.write(self.transport, octets)

    def _pause_reading(self) -> None:
        if self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        wanted = self._is_paused and not self._is_unread and self._wire.buffered <= MAX_PIPELINED_OCTETS
        if wanted and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()

    def _let_others_read(self) -> None:
        """Read no more from this client before the next turn."""
        self._pause_reading()
        self.loop.call_soon(self._resume_reading)

    # The exchange of challenges

    async def push(self, status: str | bytes) -> None:
        """What aiosmtpd writes during a login."""
        octets = status.encode() if isinstance(status, str) else status
        self._write(octets + b"\r\n")

    async def _challenge(self, text: bytes) -> bytes | None:
        """aiosmtpd's exchange: it reads the line that `_answer_challenge` gives to its reader."""
        if self.session is None:
            self.session = self._create_session()
            self.session.peer = self._peer[0]
            self._reader = asyncio.StreamReader(limit=MAX_LINE_OCTETS, loop=self.loop)
        self._challenged = True
        self._answer_challenge()
        response = await self.challenge_auth(text)
        return response if isinstance(response, bytes) else None

    def _answer_challenge(self) -> None:
        event = self._wire.next_event() if self._challenged else None
        if event is not None:
            self._challenged = False
            # The reader would take a bare LF for a line's end, and what is behind it for the next line.
            line = event if isinstance(event, bytes) and b"\n" not in event else b"!"  # no base64
            self._reader.feed_data(line + b"\r\n")


def shared_attributes(hostname: str, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """What aiosmtpd's constructor finds out, for a class that shares it among its connections.

    It looks through all methods, and the result is always the same.
    """
    return vars(SMTP(object(), hostname=hostname, enable_SMTPUTF8=True, loop=loop))
