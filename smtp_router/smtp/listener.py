"""Where clients connect."""

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.config.types import HostPort, SystemdSocket, UnixPath
from smtp_router.core.address import unmapped
from smtp_router.smtp.encryption import Encrypted
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.proxy import NoHeaderError, read_header
from smtp_router.smtp.register import Register
from smtp_router.smtp.session import ClientSession, session_class
from smtp_router.smtp.site import Site
from smtp_router.smtp.sockets import BACKLOG, listening_sockets
from smtp_router.smtp.tls import TLS_HANDSHAKE_S, ServerContext

log = logging.getLogger(__name__)

MAX_ARRIVING = 500
"""Connections at the same time of which a PROXY header or a TLS handshake is awaited. One more, and the
oldest ends: what is honest takes milliseconds, and what keeps silent does not use up the descriptors."""
TAKEN_AT_ONCE = 8
"""Connections that are taken in one turn of the event loop, if as many wait.

uvloop takes one a turn from a listening socket, and with it what else has come: so with clients that
connect for each message, every message has a turn of its own, in which Python finds all caches cold and
few others have anything to say. A socket that it has eight times over gives it eight, for 15 % less CPU
time a message of 1 KB with 20 such clients. One that comes alone costs seven vain looks, of half a
microsecond each.
"""
ACCEPT_PAUSE_S = 0.1
"""How long to wait when there is no file descriptor left for a client."""


class Listener:
    """One listening address with its sessions."""

    def __init__(
        self,
        site: Site,
        settings: ListenerSettings,
        given: Sequence[socket.socket] = (),
        outbox: Outbox | None = None,
    ) -> None:
        """Load the certificate, if there is one; nothing listens yet, but the event loop runs.

        Args:
            site: the router.
            settings: its own.
            given: what to listen on, opened by somebody who also removes it; by default, it opens what
                the settings say.
            outbox: where its sessions write; by default, one of their own.

        Raises:
            OSError: the certificate cannot be used.
        """
        self._site = site
        self._settings = settings
        self._tls = ServerContext(settings) if settings.tls_cert is not None else None
        self._given = given
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._arriving: dict[asyncio.Task[None], socket.socket] = {}
        loop = asyncio.get_running_loop()
        self._sessions: Register[ClientSession] = Register(loop, lambda: site.settings.idle_s)
        self._session = session_class(
            site,
            settings,
            context=self._tls.context if self._tls else None,
            register=self._sessions,
            loop=loop,
            outbox=outbox,
        )

    async def start(self) -> HostPort | UnixPath | SystemdSocket:
        """Listen; the real address, where the configuration leaves the port open.

        Raises:
            OSError: the address cannot be listened on.
        """
        address = self._settings.addr
        self._sockets = list(self._given) or await asyncio.to_thread(listening_sockets, address)
        for each in self._sockets:
            if self._settings.proxy_protocol or self._settings.tls == "implicit":
                self._accepting.append(asyncio.create_task(self._accept(each)))
            else:
                for _ in range(TAKEN_AT_ONCE):
                    self._servers.append(await self._serve(each.dup()))
        if isinstance(address, HostPort):
            return HostPort(host=address.host, port=self._sockets[0].getsockname()[1])
        return address

    def refresh(self) -> None:
        """Take up a certificate that has changed."""
        if self._tls is not None:
            self._tls.refresh()

    def stop(self) -> None:
        """Take no more connections, and let every session end as soon as its transaction has."""
        for server in self._servers:
            server.close()
        for task in (*self._accepting, *self._arriving):
            task.cancel()
        for each in self._sockets:
            each.close()
        if isinstance(self._settings.addr, UnixPath) and self._sockets and not self._given:
            with suppress(OSError):
                os.unlink(self._settings.addr.path)  # noqa: PTH108 - a str
        self._sockets = []
        for session in self._sessions:
            session.drain()

    async def drained(self) -> None:
        """Wait until the last session has ended."""
        await asyncio.gather(*self._accepting, *self._arriving, return_exceptions=True)
        await self._sessions.empty()

    def abort(self) -> None:
        """Close what is left of the sessions."""
        for session in self._sessions:
            session.abort()

    async def _serve(self, listening: socket.socket) -> asyncio.Server:
        """Let the event loop accept, which is quicker where nothing comes before the session."""
        loop = asyncio.get_running_loop()
        unix = listening.family == socket.AF_UNIX
        create = loop.create_unix_server if unix else loop.create_server
        return await create(self._session, sock=listening, backlog=BACKLOG)

    async def _accept(self, listening: socket.socket) -> None:
        """Take connections, each into a task of its own until its session has begun.

        The event loop's own would not end a TLS handshake when the router stops.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:  # out of file descriptors, or a client that has gone again
                self._complain("cannot accept", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            task = asyncio.create_task(self._begin(client))
            self._arriving[task] = client
            task.add_done_callback(self._arrived)
            for late in tuple(islice(self._arriving, max(len(self._arriving) - MAX_ARRIVING, 0))):
                late.cancel()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        client = self._arriving.pop(task)
        if task.cancelled():  # maybe before its first step
            client.close()
        elif error := task.exception():
            log.error("connection not begun", exc_info=error)
            client.close()

    async def _begin(self, client: socket.socket) -> None:
        """See who it is behind the proxy, and begin the session."""
        client.setblocking(False)  # noqa: FBT003 - not ours to name
        try:
            session = self._session(await self._peer_behind(client))
            if self._tls is not None and self._settings.tls == "implicit":
                await _begin_tls(session, self._tls.context, client)
            else:
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(lambda: session, client)
        except (OSError, NoHeaderError) as error:
            self._complain("connection not begun", level=logging.INFO, error=str(error))
            client.close()

    def _complain(self, cause: str, *, level: int = logging.WARNING, **fields: object) -> None:
        self._site.guard.complaints.write(cause, level=level, **fields)

    async def _peer_behind(self, client: socket.socket) -> tuple[str, int] | None:
        """The client's address and port, if a trusted proxy tells them."""
        if not self._settings.proxy_protocol:
            return None
        if client.family == socket.AF_UNIX:
            return await read_header(client)  # whoever may open the socket is trusted
        address = ipaddress.ip_address(unmapped(client.getpeername()[0]))
        if any(address in network for network in self._settings.proxy_protocol):
            return await read_header(client)
        return None


async def _begin_tls(session: ClientSession, context: ssl.SSLContext, client: socket.socket) -> None:
    """Make the handshake, and begin the session.

    Raises:
        OSError: it failed.
    """
    encrypted = Encrypted(session, context, is_server=True, is_new=True, handshake_s=TLS_HANDSHAKE_S)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(lambda: encrypted, client)
    try:
        await encrypted.opened
    except asyncio.CancelledError:
        transport.abort()
        raise
