"""TLS over a connection in clear text: its protocol, and the transport of whoever speaks over it.

The event loop has its own (`start_tls`), which takes a buffer of 256 KiB for each connection, a task, a
timer and turns of the loop between.

Rules:
1. What is decrypted is told in order, and nothing of it before the handshake is over.
2. Who closes says so (close_notify), and waits for no answer: that a session ends, is agreed upon by
   QUIT and its reply (RFC 8446 6.1 lets it be so).
3. When the peer has said its last, the connection is closed: half of one is of no use in SMTP.
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from smtp_router.errand import Pending

RECORD_OCTETS = 16_384
"""The most that a record holds (RFC 8446 5.1), and so the most that is read at once."""
FULL_OCTETS = 256_000
"""As many at once, and there is more to come: uvloop would read on up to 32 times in the same turn."""


class Encrypted(asyncio.Transport, asyncio.Protocol):
    """One connection over TLS.

    It begins with `connection_made`, of which a transport that is connected already knows nothing: then
    it is to be called. `opened` is told when the handshake is over, or why it has failed: then the
    connection is closed, and the protocol is told nothing.
    """

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        is_server: bool = False,
        is_new: bool = False,
        handshake_s: float | None = None,
    ) -> None:
        """Be ready for a transport.

        Args:
            protocol: of who speaks over it.
            context: what TLS goes by.
            server_hostname: whom a client wants to speak with.
            is_server: which end this is.
            is_new: whether the protocol is to hear of the connection when the handshake is over; by
                default it knows of it already.
            handshake_s: how long that may take, in seconds, unless the caller has the clock.
        """
        super().__init__()
        self._protocol = cast(asyncio.Protocol, protocol)
        self._is_new = is_new  # to the protocol
        self._handshake_s = handshake_s
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, is_server, server_hostname)
        self._loop = asyncio.get_running_loop()
        self.opened: Pending[None] = Pending(loop=self._loop)
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._is_open = self._is_over = self._is_paused = False

    # What the transport below does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection: begin the handshake."""
        self._clear = cast(asyncio.Transport, transport)
        if self._handshake_s is not None:
            self._timer = self._loop.call_later(self._handshake_s, self._late)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._incoming.write(data)
        if self._is_open:
            self._read()
        elif not self._is_over:
            self._shake_hands()
        if len(data) >= FULL_OCTETS:
            self._clear.pause_reading()
            self._loop.call_soon(self._let_read)

    def eof_received(self) -> bool:
        """The peer says no more, and has not said so (close_notify)."""
        if self._is_open:
            self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._is_over = True
        self._fail(exc or ConnectionError("closed during the handshake"))
        protocol, self._protocol = self._protocol, asyncio.Protocol()  # which may refer to this
        if self._is_open:
            protocol.connection_lost(self._error or exc)

    def pause_writing(self) -> None:
        """The transport below has more than it can send."""
        if not self._is_new:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It takes more."""
        if not self._is_new:
            self._protocol.resume_writing()

    # What the protocol above does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        if data and not self._is_over:
            try:
                self._object.write(data)  # all of it, into memory
            except ssl.SSLError as error:
                self._error = error
                self.abort()
            else:
                self._clear.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it at once."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close the connection when all is sent."""
        if not self._is_over:
            self._is_over = True
            with suppress(ssl.SSLError):  # it would wait for the peer to say so, too
                self._object.unwrap()
            self._send()
            self._clear.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._is_over = True
        self._clear.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._is_over or self._clear.is_closing()

    def pause_reading(self) -> None:
        """Tell the protocol nothing for now."""
        self._is_paused = True
        self._clear.pause_reading()

    def resume_reading(self) -> None:
        """Tell it again what comes."""
        self._is_paused = False
        self._clear.resume_reading()
        if self._incoming.pending:
            self._loop.call_soon(self._read_on)

    def _let_read(self) -> None:
        if not (self._is_paused or self._is_over):
            self._clear.resume_reading()

    def is_reading(self) -> bool:
        """Whether the protocol is told what comes."""
        return not self._is_paused and self._clear.is_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who speaks over it."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let somebody else speak."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """`ssl_object`, `sslcontext`, or what the transport below knows."""
        if name == "ssl_object":
            return self._object
        if name == "sslcontext":
            return self._object.context
        return self._clear.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """How many octets are not sent yet."""
        return self._clear.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause."""
        self._clear.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """No: it is closed as a whole."""
        return False

    # The handshake

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            self._is_over = True
            self._send()  # the alert that says why
            self._clear.close()
            self._fail(error)
            return
        self._send()
        self._is_open = True
        self._stop_clock()
        if self._is_new:
            self._is_new = False
            self._protocol.connection_made(self)
        if not self.opened.done():
            self.opened.tell(None)
        if self._incoming.pending:
            self._loop.call_soon(self._read_on)  # when whoever has waited knows

    def _late(self) -> None:
        self._fail(TimeoutError("the handshake took too long"))
        self.abort()

    def _fail(self, error: Exception) -> None:
        self._stop_clock()
        if not self.opened.done():
            self.opened.fail_later(error)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Records

    def _read_on(self) -> None:
        if self._incoming.pending and not (self._is_paused or self._is_over):
            self._read()

    def _read(self) -> None:
        """Decrypt what has come, and tell it as one piece."""
        read, incoming = self._object.read, self._incoming
        pieces: list[bytes] = []
        has_ended = False
        try:
            while piece := read(RECORD_OCTETS):
                pieces.append(piece)
                if not incoming.pending:  # else OpenSSL says so by an exception, which is dear
                    break
            else:
                has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._error = error  # told when the connection is lost
        if self._outgoing.pending:
            self._send()  # the answer to a key update, or an alert
        if pieces:
            self._protocol.data_received(b"".join(pieces))
        if has_ended:
            self._end()
        elif self._error is not None:
            self.abort()

    def _end(self) -> None:
        if not self._is_over:
            self._protocol.eof_received()
            self.close()

    def _send(self) -> None:
        octets = self._outgoing.read()
        if octets and not self._clear.is_closing():
            self._clear.write(octets)


async def encrypt(
    clear: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    is_server: bool = False,
    handshake_s: float | None = None,
) -> asyncio.Transport:
    """Change a connection over to TLS.

    What comes from now on is part of the handshake.

    Args:
        clear: the connection.
        protocol: of who speaks over it.
        context: as of `Encrypted`, and the following, too.
        server_hostname: whom a client wants to speak with.
        is_server: which end this is.
        handshake_s: how long it may take.

    Raises:
        OSError: the handshake failed; the connection is closed then, and when this is cancelled.
    """
    encrypted = Encrypted(
        protocol,
        context,
        server_hostname=server_hostname,
        is_server=is_server,
        handshake_s=handshake_s,
    )
    clear.set_protocol(encrypted)
    encrypted.connection_made(clear)
    try:
        await encrypted.opened
    except asyncio.CancelledError:
        encrypted.abort()
        raise
    return encrypted
