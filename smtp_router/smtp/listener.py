"""Where clients connect."""

import asyncio

from smtp_router.config.load import Loaded
from smtp_router.config.settings import HostPort
from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.core.errors import Problem
from smtp_router.smtp.session import TLS_HANDSHAKE_S, ClientSession
from smtp_router.smtp.site import Site
from smtp_router.smtp.tls import ServerContext

BACKLOG = 1024


class Listener:
    """One listening address with its sessions."""

    def __init__(self, site: Site, settings: ListenerSettings) -> None:
        """Load the certificate, if there is one; nothing listens yet.

        Raises:
            OSError: the certificate cannot be used.
        """
        self._site = site
        self._settings = settings
        self._tls = ServerContext(settings) if settings.tls_cert is not None else None
        self._server: asyncio.Server | None = None
        self._sessions: set[ClientSession] = set()

    async def start(self) -> HostPort:
        """Listen; the real address, where the configuration leaves the port open.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        context = self._tls.context if self._tls else None
        implicit = self._settings.tls == "implicit"
        self._server = await loop.create_server(
            lambda: ClientSession(self._site, self._settings, context, self._sessions, loop),
            self._settings.addr.host,
            self._settings.addr.port,
            backlog=BACKLOG,
            reuse_address=True,
            ssl=context if implicit else None,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if implicit else None,
        )
        port = self._server.sockets[0].getsockname()[1]
        return HostPort(host=self._settings.addr.host, port=port)

    def refresh(self) -> None:
        """Take up a certificate that has changed."""
        if self._tls is not None:
            self._tls.refresh()

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


def certificate_problems(loaded: Loaded) -> list[Problem]:
    """What is wrong with the certificates of a configuration's listeners."""
    problems = []
    for index, settings in enumerate(loaded.settings.listen):
        if settings.tls_cert is None:
            continue
        try:
            ServerContext(settings)
        except OSError as error:  # ssl.SSLError is one
            message = f"cannot be used with its key: {error.strerror or error}"
            problems.append(loaded.problem(("listen", index, "tls_cert"), message))
    return problems
