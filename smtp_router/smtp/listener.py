"""Where clients connect."""

import asyncio

from smtp_router.config.settings import HostPort
from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.smtp.session import ClientSession
from smtp_router.smtp.site import Site

BACKLOG = 1024


class Listener:
    """One listening address with its sessions."""

    def __init__(self, site: Site, settings: ListenerSettings) -> None:
        """Nothing listens yet."""
        self._site = site
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._sessions: set[ClientSession] = set()

    async def start(self) -> HostPort:
        """Listen; the real address, where the configuration leaves the port open.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientSession(self._site, self._sessions, loop),
            self._settings.addr.host,
            self._settings.addr.port,
            backlog=BACKLOG,
            reuse_address=True,
        )
        port = self._server.sockets[0].getsockname()[1]
        return HostPort(host=self._settings.addr.host, port=port)

    def stop(self) -> None:
        """Take no more connections, and let every session end as soon as its transaction has."""
        if self._server is not None:
            self._server.close()
        for session in tuple(self._sessions):
            session.drain()

    async def drained(self) -> None:
        """Wait until the last session has ended."""
        while self._sessions:
            await asyncio.gather(*(session.closed() for session in tuple(self._sessions)))

    def abort(self) -> None:
        """Close what is left of the sessions."""
        for session in tuple(self._sessions):
            session.abort()
