"""All tokens of a router: one for each credential, whoever uses it."""

import asyncio
import ssl
from collections.abc import Hashable

from smtp_router.config.auth import Auth
from smtp_router.tokens.cache import Renewal, Renewing, TokenCache
from smtp_router.tokens.command import Command
from smtp_router.tokens.token import Source


class Tokens:
    """Finds or makes the cache for a credential, and looks after the renewals of all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """There is none.

        Args:
            loop: the event loop.
        """
        self._loop = loop
        self._caches: dict[Hashable, TokenCache] = {}
        self._renewals: set[Renewal] = set()
        self._context: ssl.SSLContext | None = None

    def of(self, auth: Auth) -> TokenCache:
        """The cache of a login that takes a token."""
        cache = self._caches.get(auth.credential)
        if cache is None:
            cache = TokenCache(self._source(auth), self._start, self._loop.time)
            self._caches[auth.credential] = cache
        return cache

    def retain(self, credentials: frozenset[Hashable]) -> None:
        """Forget the tokens of all others.

        A credential that stays keeps its token, and the refresh token that it was given last.
        """
        for credential in self._caches.keys() - credentials:
            del self._caches[credential]

    async def close(self) -> None:
        """End the renewals that are under way."""
        for renewal in self._renewals:
            renewal.cancel()
        await asyncio.gather(*self._renewals, return_exceptions=True)

    def _source(self, auth: Auth) -> Source:
        if auth.token_command is not None:
            return Command(auth.token_command, lifetime_s=auth.token_lifetime_s)
        # Most routers have none: with oauthlib and h11 it takes 20 ms and 1 MB.
        from smtp_router.tokens.endpoint import Endpoint, Grant  # noqa: PLC0415

        assert auth.token_url is not None
        assert auth.client_id is not None
        assert auth.refresh_token is not None
        secret = auth.client_secret
        grant = Grant(
            token_url=auth.token_url,
            client_id=auth.client_id,
            client_secret=None if secret is None else secret.reveal(),
            refresh_token=auth.refresh_token.reveal(),
            scope=auth.scope,
            lifetime_s=auth.token_lifetime_s,
        )
        return Endpoint(grant, self._tls)

    def _start(self, renewing: Renewing) -> Renewal:
        renewal = self._loop.create_task(renewing)
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        return renewal

    async def _tls(self) -> ssl.SSLContext:
        """Made when it is first needed, in a thread: it takes a while."""
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        return self._context
