"""aiosmtplib's protocol, held to one reply for each command.

aiosmtplib takes what is left in its buffer for the reply to the next command. While a connection is
being opened it says what to say; the replies are read by our own `ReplyReader`, and one that nobody
asked for ends it.
"""

import asyncio
import ssl
from collections import deque

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from smtp_router.smtp.handover import OUT_OF_STEP
from smtp_router.smtp.reply_reader import ReplyReader, WireReply, text_of


class Lockstep(SMTPProtocol):
    """The protocol of a connection until it is ready for mail."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is connected yet."""
        super().__init__(loop=loop)
        self._reader = ReplyReader()
        self._replies: deque[WireReply] = deque()
        self._heard = asyncio.Event()
        self._is_over = False

    @property
    def in_step(self) -> bool:
        """Whether the connection is open, and every reply was asked for."""
        return not (self._is_over or self._replies or self._reader.is_partial)

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._replies += self._reader.feed(data)
        self._heard.set()

    def eof_received(self) -> bool:
        """The downstream says no more."""
        self._is_over = True
        self._heard.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        self._is_over = True
        self._heard.set()

    def write(self, data: bytes) -> None:
        """Send a command.

        Raises:
            SMTPServerDisconnected: the connection is lost, or there is a reply already.
        """
        if not (self._is_over or self.in_step):
            raise aiosmtplib.SMTPServerDisconnected(OUT_OF_STEP)
        super().write(data)

    async def read_response(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class has it
    ) -> aiosmtplib.SMTPResponse:
        """The next reply; one that is none has code 0. Whoever waits has the clock."""
        del timeout
        while not self._replies:
            if self._is_over:
                raise aiosmtplib.SMTPServerDisconnected("connection lost")
            self._heard.clear()
            await self._heard.wait()
        code, octets = self._replies.popleft()
        return aiosmtplib.SMTPResponse(code, text_of(octets))

    async def start_tls(
        self,
        tls_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> aiosmtplib.SMTPResponse:
        """Change over to TLS; what came in clear behind the reply is forgotten (RFC 3207 4.2)."""
        response = await super().start_tls(tls_context, server_hostname, timeout)
        self._reader = ReplyReader()
        self._replies.clear()
        return response
