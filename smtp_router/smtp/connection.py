"""One connection to a downstream, from the first packet to the point where MAIL may be said.

aiosmtplib does the protocol; what it does too leniently is decided here: when TLS has to be there, and
that one failed login is not followed by a second one.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import aiosmtplib
from aiosmtplib.auth import auth_login_encode, auth_plain_encode
from aiosmtplib.protocol import SMTPProtocol

from smtp_router.config.settings import Downstream, Timeouts
from smtp_router.core.address import is_loopback
from smtp_router.core.outcome import Deferred, InDoubt, Outcome, Rejected, Stage
from smtp_router.core.reply import printable
from smtp_router.smtp.tls import ClientContexts
from smtp_router.smtp.verdict import verdict

AUTH_MECHANISMS = ("plain", "login")
"""In order of preference; one is tried, never a second: three failures lock accounts."""

HELO_CODES = frozenset({500, 501, 502, 504, 550})
"""EHLO is not known here, HELO may be (RFC 5321 3.2)."""


START_INPUT = 354
QUIT_S = 5.0
BLOCK_OCTETS = 64 * 1024


class AttemptEnded(Exception):  # noqa: N818 - how an attempt's end travels up inside this room
    """The attempt is over; its outcome is all that counts."""

    def __init__(self, outcome: Outcome) -> None:
        """Carry the outcome."""
        super().__init__(str(outcome))
        self.outcome = outcome


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, which closes at once.

    A TLS transport's own `close` waits half a minute for a peer that does not answer, with the socket
    open all the while.
    """

    def close(self) -> None:
        """Abort the connection."""
        transport = _writing(self.transport)
        if transport is not None:
            transport.abort()
        super().close()


class Connection:
    """A connection to a downstream; mail can be handed over once `open` has returned.

    Whatever goes wrong comes out as `AttemptEnded`. After that, or after a cancellation, replies and
    commands may no longer match, so nothing but `abort` (or `quit`, where a refusal ended it) is left.
    """

    def __init__(self, downstream: Downstream, timeouts: Timeouts, hostname: str, until: float) -> None:
        """Nothing is connected yet.

        Args:
            downstream: where to, and with which credentials.
            timeouts: per stage, in seconds.
            hostname: what to say in EHLO.
            until: the instant (of the event loop's clock) that no stage may outlast.
        """
        self._downstream = downstream
        self._timeouts = timeouts
        self._until = until
        self._client = _Client(
            hostname=downstream.addr.host,
            local_hostname=hostname,
            timeout=None,
            use_tls=downstream.implicit_tls,
            start_tls=None if downstream.implicit_tls else False,
        )
        self.in_sync = True
        """Whether the connection is in a state in which QUIT can be said."""

    async def open(self, contexts: ClientContexts) -> None:
        """Connect, start TLS as the configuration wants it, say EHLO, log in.

        Raises:
            AttemptEnded: with what became of it.
        """
        await self._connect(contexts)
        await self._say_ehlo()
        if await self._start_tls(contexts):
            await self._say_ehlo()
        if self._downstream.user is not None:
            await self._log_in()

    @asynccontextmanager
    async def stage(self, stage: Stage, seconds: float) -> AsyncIterator[None]:
        """Do one stage's work within its time; transport failures become outcomes.

        Raises:
            AttemptEnded: it took too long, the connection failed, or a reply was a refusal.
        """
        loop = asyncio.get_running_loop()
        end = min(loop.time() + seconds, self._until)
        try:
            async with asyncio.timeout_at(end):
                yield
            self._check_in_step()
        except aiosmtplib.SMTPResponseException as error:
            text = self._without_password(str(error.message))
            outcome = self._verdict(stage, error.code, text)
            self.in_sync = error.code > 0 and self._client.is_connected
            reason = printable(f"unexpected reply: {error.code} {text}")
            raise AttemptEnded(outcome or Deferred(stage=stage, reason=reason)) from error
        except TimeoutError as error:
            self.in_sync = False
            raise AttemptEnded(Deferred(stage=stage, reason="timed out")) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            self.in_sync = False
            raise AttemptEnded(Deferred(stage=stage, reason=_why(error))) from error
        except asyncio.CancelledError:
            self.in_sync = False
            raise

    async def command(self, stage: Stage, seconds: float, *words: bytes) -> Outcome | None:
        """Send one command and read its reply.

        Returns:
            `None` when the downstream agrees, else the outcome that its refusal would be.

        Raises:
            AttemptEnded: it took too long, or the connection failed.
        """
        async with self.stage(stage, seconds):
            code, text = await self._client.execute_command(*words)
        self.in_sync = self._client.is_connected
        return self._verdict(stage, code, text)

    def offers(self, extension: str) -> bool:
        """Whether the downstream's EHLO offers this extension."""
        return self._client.supports_extension(extension)

    @property
    def is_verified(self) -> bool:
        """Whether the connection is encrypted, to a downstream whose certificate was verified."""
        return self._downstream.tls_verify and bool(self._client.get_transport_info("sslcontext"))

    async def data(self) -> None:
        """Say DATA.

        Raises:
            AttemptEnded: the downstream did not ask for the content.
        """
        async with self.stage(Stage.DATA, self._timeouts.data_s):
            code, text = await self._client.execute_command(b"DATA")
            if code != START_INPUT:
                raise aiosmtplib.SMTPResponseException(code, text)

    async def content(
        self, wire: Sequence[bytes], deadline: float, on_final: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Send the content and read the reply to its final dot: the one that decides.

        Until the last octets have left this process, a failure is a plain one; after that it leaves the
        message in doubt.

        Args:
            wire: the content as it goes over the wire, in pieces, with the final dot.
            deadline: the instant by which the reply must be there.
            on_final: to be called right before the final dot goes out.
        """
        self.in_sync = False
        protocol = self._client.protocol
        if protocol is None:
            return Deferred(stage=Stage.DATA, reason="the connection was lost")
        # In this order: aiosmtplib drops a reply that nobody awaits.
        reading = asyncio.ensure_future(protocol.read_response())
        writing = asyncio.ensure_future(_write(protocol, wire, on_final))
        transport = _writing(protocol.transport)
        out = False
        try:
            async with asyncio.timeout_at(self._until):
                await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            out = writing.done() and writing.exception() is None  # if it failed, so will the reading
            end = min(asyncio.get_running_loop().time() + self._timeouts.final_s, deadline)
            async with asyncio.timeout_at(end):
                code, text = await reading
        except TimeoutError:
            out = out and not (transport and transport.get_write_buffer_size())
            why = "timed out"
        except (aiosmtplib.SMTPException, OSError) as error:
            why = _why(error)
        else:
            outcome = self._verdict(Stage.FINAL, code, text)
            if outcome is not None and (out or isinstance(outcome, Deferred | Rejected)):
                self.in_sync = out and self._client.is_connected and outcome.reply is not None
                return outcome
            why = printable(f"unexpected reply: {code} {text}")
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
        return InDoubt(reason=why) if out else Deferred(stage=Stage.DATA, reason=why)

    async def quit(self) -> None:
        """Say good-bye (RFC 5321 4.1.1.10), briefly, and close."""
        try:
            async with asyncio.timeout(QUIT_S):
                await self._client.quit()
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once; what is not sent yet is not sent any more."""
        self._client.close()

    def _verdict(self, stage: Stage, code: int, text: str) -> Outcome | None:
        """What a reply of this downstream means."""
        return verdict(stage, code, text, self._downstream.rules, datetime.now(UTC))

    async def _connect(self, contexts: ClientContexts) -> None:
        async with self.stage(Stage.CONNECT, self._timeouts.connect_s):
            addr = self._downstream.addr
            peer = await _open_socket(addr.host, addr.port, self._timeouts.connect_s)
        try:
            if self._downstream.implicit_tls:
                async with self.stage(Stage.TLS, self._timeouts.tls_s):
                    self._client.tls_context = await self._context(contexts)
            async with self.stage(Stage.CONNECT, self._timeouts.banner_s):
                await self._client.connect(sock=peer)
        except AttemptEnded as ended:
            cause = ended.__cause__.__cause__ if ended.__cause__ else None
            if isinstance(cause, ssl.SSLError):
                raise AttemptEnded(Deferred(stage=Stage.TLS, reason=_why(cause))) from cause
            raise
        finally:
            if not self._client.is_connected:
                peer.close()

    async def _say_ehlo(self) -> None:
        async with self.stage(Stage.EHLO, self._timeouts.ehlo_s):
            try:
                await self._client.ehlo()
            except aiosmtplib.SMTPHeloError as error:
                if error.code not in HELO_CODES or not self._client.is_connected:
                    raise
                await self._client.helo()

    async def _start_tls(self, contexts: ClientContexts) -> bool:
        """STARTTLS if it is wanted; whether TLS has begun."""
        if self._downstream.tls == "none" or self._downstream.implicit_tls:
            return False
        if not self.offers("starttls"):
            required = self._downstream.tls == "starttls" or (
                self._downstream.user is not None and not self._is_loopback()
            )
            if required:
                reason = "STARTTLS is required, and not offered"
                raise AttemptEnded(Deferred(stage=Stage.TLS, reason=reason))
            return False
        async with self.stage(Stage.TLS, self._timeouts.tls_s):
            await self._client.starttls(
                server_hostname=self._downstream.addr.host,
                tls_context=await self._context(contexts),
            )
        return True

    async def _context(self, contexts: ClientContexts) -> ssl.SSLContext:
        return await contexts.get(verify=self._downstream.tls_verify, ca=self._downstream.tls_ca)

    async def _log_in(self) -> None:
        user, password = self._downstream.user, self._downstream.password
        assert user is not None
        assert password is not None
        offered = self._client.server_auth_methods
        mechanism = next((name for name in AUTH_MECHANISMS if name in offered), None)
        if mechanism is None:
            reason = f"no mechanism for the login: offered {' '.join(offered) or 'none'}"
            raise AttemptEnded(Deferred(stage=Stage.AUTH, reason=printable(reason)))
        log_in = self._client.auth_plain if mechanism == "plain" else self._client.auth_login
        async with self.stage(Stage.AUTH, self._timeouts.auth_s):
            await log_in(user, password.reveal())

    def _without_password(self, text: str) -> str:
        """A reply's text with our password taken out, if the downstream repeats what it was sent."""
        user, password = self._downstream.user, self._downstream.password
        if user is None or password is None:
            return text
        secret = password.reveal()
        for sent in (auth_plain_encode(user, secret), auth_login_encode(user, secret)[1]):
            text = text.replace(sent.decode("ascii"), "***")
        return text.replace(secret, "***")

    def _check_in_step(self) -> None:
        """See that no reply is left over, which aiosmtplib would take for the next one.

        A second `250` behind the `354` would pass for the downstream's word on the message.

        Raises:
            SMTPServerDisconnected: the downstream is out of step.
        """
        protocol = self._client.protocol
        if protocol is not None and protocol._buffer:  # noqa: SLF001 - there is no public way to see it
            text = "a reply that belongs to no command"
            raise aiosmtplib.SMTPServerDisconnected(text)

    def _is_loopback(self) -> bool:
        peer = self._client.get_transport_info("peername")
        return bool(peer) and is_loopback(peer[0])


async def _open_socket(host: str, port: int, connect_s: float) -> socket.socket:
    """A TCP connection to the first of the host's addresses that answers, without delays (Nagle).

    The addresses share the time, so that one behind a silent firewall leaves some for the next.

    Raises:
        OSError: the host is not known, or none of its addresses answers.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last = OSError(f"no address for {host}")
    for family, kind, protocol, _, address in found:
        peer = socket.socket(family, kind, protocol)
        try:
            peer.setblocking(False)  # noqa: FBT003 - not ours to name
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(connect_s / len(found)):
                await loop.sock_connect(peer, address)
        except OSError as error:
            peer.close()
            last = error
        except BaseException:
            peer.close()
            raise
        else:
            return peer
    raise last


async def _write(protocol: SMTPProtocol, wire: Sequence[bytes], on_final: Callable[[], None]) -> None:
    """Write content at the pace at which it is taken, and let others have their turns.

    Raises:
        SMTPException, OSError: the connection is lost.
    """
    blocks = [
        piece[start : start + BLOCK_OCTETS]
        for piece in wire
        for start in range(0, len(piece), BLOCK_OCTETS)
    ]
    if sum(map(len, blocks)) <= BLOCK_OCTETS:
        blocks = [b"".join(blocks)]
    for position, block in enumerate(blocks, start=1):
        if position == len(blocks):
            on_final()
        protocol.write(block)
        if position < len(blocks):
            # As the standard library's streams do it; there is no public way.
            await protocol._drain_helper()  # noqa: SLF001
            await asyncio.sleep(0)  # a TLS transport takes octets it cannot send, and tells a turn later


def _writing(transport: asyncio.BaseTransport | None) -> asyncio.WriteTransport | None:
    """The transport as what it is; uvloop's do not inherit from asyncio's, so none is asked."""
    return cast(asyncio.WriteTransport | None, transport)


def _why(error: BaseException) -> str:
    """A failure in a few words for logs and plugins."""
    text = str(error) or type(error).__name__
    return printable(text)
