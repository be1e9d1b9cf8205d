"""A dialogue with a downstream in which each command has one reply, until it is ready for mail.

Replies are read by our own `ReplyReader`; one that nobody has asked for ends the dialogue. What a
downstream says of itself (EHLO) is aiosmtplib's to read.
"""

import asyncio
import re
import ssl
from collections import deque
from typing import cast

from aiosmtplib import SMTPHeloError, SMTPResponse, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.esmtp import parse_esmtp_extensions

from smtp_router.smtp.encryption import encrypt
from smtp_router.smtp.handover import OUT_OF_STEP
from smtp_router.smtp.reply_reader import ReplyReader, WireReply, text_of

READY_FOR_TLS, COMPLETED = 220, 250

_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f]")


class Lockstep(asyncio.Protocol):
    """The protocol of a connection until it is ready for mail. Whoever waits has the clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is connected yet."""
        self._loop = loop
        self._reader = ReplyReader()
        self._replies: deque[WireReply] = deque()
        self._heard: asyncio.Future[None] | None = None
        self._is_over = False
        self.transport: asyncio.Transport | None = None
        """The connection, even when it is lost."""
        self.extensions: dict[str, str] = {}
        """What was offered in the last reply to EHLO: parameters by keyword, in lower case."""
        self.auth_mechanisms: list[str] = []
        """Those that were offered, in lower case."""

    @property
    def in_step(self) -> bool:
        """Whether the connection is open, and every reply was asked for."""
        return not (self._is_over or self._replies or self._reader.is_partial)

    # What the transport does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._replies += self._reader.feed(data)
        self._wake()

    def eof_received(self) -> bool:
        """The downstream says no more."""
        self._is_over = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        del exc
        self._is_over = True
        self._wake()

    # The dialogue

    async def read_response(self) -> SMTPResponse:
        """The next reply; one that is none has code 0.

        Raises:
            SMTPServerDisconnected: there will be none.
        """
        while not self._replies:
            if self._is_over:
                raise SMTPServerDisconnected("connection lost")
            self._heard = self._loop.create_future()
            await self._heard
        code, octets = self._replies.popleft()
        return SMTPResponse(code, text_of(octets))

    async def execute_command(self, command: bytes) -> SMTPResponse:
        """Say a command, and hear the reply.

        Raises:
            SMTPServerDisconnected: the connection is lost, or there is a reply already.
            ValueError: it is more than one line.
        """
        if _FORBIDDEN.search(command):
            raise ValueError("a command with a control character")
        transport = self.transport
        if transport is None or self._is_over or transport.is_closing():
            raise SMTPServerDisconnected("Connection lost")
        if not self.in_step:
            raise SMTPServerDisconnected(OUT_OF_STEP)
        transport.write(command + b"\r\n")
        return await self.read_response()

    async def ehlo(self, hostname: str, *, verb: str = "EHLO") -> None:
        """EHLO, or what takes its place and is answered alike: LHLO (RFC 2033 4.1).

        Raises:
            SMTPHeloError: it is refused.
            SMTPServerDisconnected: as of every command.
        """
        offer = await self._introduce(f"{verb} {hostname}")
        self.extensions, self.auth_mechanisms = parse_esmtp_extensions(offer)

    async def helo(self, hostname: str) -> None:
        """HELO, to which nothing is offered.

        Raises:
            SMTPHeloError: it is refused.
            SMTPServerDisconnected: as of every command.
        """
        await self._introduce(f"HELO {hostname}")

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Agree upon TLS, and change over.

        Raises:
            SMTPResponseException: the downstream refuses.
            SMTPServerDisconnected: as of every command.
            OSError: the handshake failed.
        """
        code, text = await self.execute_command(b"STARTTLS")
        if code != READY_FOR_TLS:
            raise SMTPResponseException(code, text)
        if self._is_over:
            raise SMTPServerDisconnected("Connection lost")
        await self.encrypt(context, server_hostname)

    async def encrypt(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Change over to TLS; all that came in clear text is forgotten (RFC 3207 4.2).

        Raises:
            OSError: the handshake failed.
        """
        assert self.transport is not None
        self._reader = ReplyReader()
        self._replies.clear()
        self.extensions, self.auth_mechanisms = {}, []
        self.transport = await encrypt(self.transport, self, context, server_hostname=server_hostname)

    async def _introduce(self, command: str) -> str:
        code, text = await self.execute_command(command.encode("ascii"))
        if code != COMPLETED:
            raise SMTPHeloError(code, text)
        return text

    def _wake(self) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)
