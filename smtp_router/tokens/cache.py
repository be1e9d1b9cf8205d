"""Tokens in use: each is kept, and renewed ahead of time.

Rules:
1. Whoever needs a token and finds none waits for the one renewal that is under way, however many they
   are. A renewal takes `RENEWAL_S` at most, and nobody who gives up waiting ends it.
2. From four fifths of its life on, a token is renewed behind the back of those who use it. If that
   fails, it is used as long as it lasts, and renewed again `RETRY_S` later at the earliest.
3. One that was refused is not used again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from smtp_router.tokens.token import Source, Token, TokenError

log = logging.getLogger(__name__)

RENEWAL_S = 30.0
RETRY_S = 10.0
_RENEWED_AT = 0.8
_USED_UP_TO = 0.95
"""Of its life. It has to last until the downstream has looked at it."""

Renewal = asyncio.Task[Token | TokenError]
Renewing = Coroutine[None, None, Token | TokenError]


class TokenCache:
    """The token of one credential."""

    def __init__(
        self, source: Source, start: Callable[[Renewing], Renewal], now: Callable[[], float]
    ) -> None:
        """There is none yet.

        Args:
            source: where tokens come from.
            start: begins a task, and sees that it does not outlive the router.
            now: the present instant, in seconds.
        """
        self._source = source
        self._start = start
        self._now = now
        self._text = ""
        self._used_until = 0.0
        self._renewed_from = 0.0
        self._renewal: Renewal | None = None

    async def get(self) -> str:
        """A token that can be used; a secret.

        Raises:
            TokenError: there is none.
        """
        now = self._now()
        if self._renewal is None and now >= self._renewed_from:
            self._renewal = self._start(self._renewed())
        if self._renewal is None or now < self._used_until:
            return self._text
        token = await asyncio.shield(self._renewal)
        if isinstance(token, TokenError):
            raise token
        return token.text

    def drop(self, text: str) -> None:
        """Forget a token that was refused, unless there is another by now."""
        if text == self._text:
            self._text, self._used_until, self._renewed_from = "", 0.0, 0.0

    async def _renewed(self) -> Token | TokenError:
        began = self._now()
        fields: dict[str, object] = {"source": str(self._source)}
        try:
            async with asyncio.timeout(RENEWAL_S):
                token = await self._source.fetch()
        except (TokenError, TimeoutError) as error:
            self._renewed_from = min(self._now() + RETRY_S, self._used_until)
            failure = error if isinstance(error, TokenError) else TokenError("no token: timed out")
            log.warning("access token not renewed", extra={"fields": {**fields, "reason": str(failure)}})
            return failure
        finally:
            self._renewal = None
        self._text = token.text
        self._renewed_from = began + token.lifetime_s * _RENEWED_AT
        self._used_until = began + token.lifetime_s * _USED_UP_TO
        log.info("access token renewed", extra={"fields": {**fields, "seconds": token.lifetime_s}})
        return token
