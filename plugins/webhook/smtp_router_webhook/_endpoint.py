"""The other side: one request at a time, and what its answer means.

Rules:
1. Whatever is not clear may be tried again: no answer, 408, 429 and 5xx. Any other answer is final.
2. Nothing that the other side sends is kept: not its body, no cookies; no redirect is followed.
3. Only the URL's origin is shown, since the rest of one may be a secret itself.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast

import httpx

_MAX_ANSWER_OCTETS = 64 * 1024
"""A longer one costs the connection: it is not read to its end."""

_AGAIN = (408, 429)
_HEADERS = {"content-type": "application/json", "user-agent": "smtp-router-webhook"}


class Verdict(Enum):
    """What an answer means."""

    TAKEN = auto()
    LATER = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request.

    Args:
        verdict: what it means.
        why: in a few words, for the log.
        after_s: before which the other side does not want to be asked again, in seconds.
    """

    verdict: Verdict
    why: str
    after_s: float = 0.0


class Endpoint:
    """A URL that takes events.

    Args:
        url: which.
        timeout_s: how long a request may take, in seconds.
        tls: makes what verifies certificates, when it is first needed: it takes 20 ms, and there may be
            as many instances as users.
    """

    def __init__(self, url: httpx.URL, timeout_s: float, tls: Callable[[], ssl.SSLContext]) -> None:
        self.origin: str = f"{url.scheme}://{url.netloc.decode()}"
        self._url = url
        self._timeout_s = timeout_s
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def post(self, body: bytes, fields: Mapping[str, str], now: datetime) -> Answer:
        """Send a request; whatever goes wrong is an answer, too.

        Args:
            body: JSON.
            fields: header fields beside the usual ones.
            now: for a date in `Retry-After`.
        """
        answer = None
        try:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self._url, content=body, headers=fields) as response,
            ):
                answer = _read(response, now)
                await _skim(response)
        except TimeoutError:
            return answer or Answer(verdict=Verdict.LATER, why="took too long")
        except Exception as error:  # noqa: BLE001 - httpx lets out what lies below it, too; rule 1
            return answer or Answer(verdict=Verdict.LATER, why=type(error).__name__)
        return answer

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._tls() if self._url.scheme == "https" else False,  # there is nothing to verify
            trust_env=False,  # no credentials of ~/.netrc, no proxy that nobody has named here
            headers=_HEADERS,
            timeout=None,  # noqa: S113 - one limit for all of it, in `post`
            limits=httpx.Limits(max_connections=1, keepalive_expiry=60),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )


async def _skim(response: httpx.Response) -> None:
    """Read what follows, so that the connection can be used again, and keep nothing."""
    read = 0
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as chunks:
        async for chunk in chunks:
            read += len(chunk)
            if read > _MAX_ANSWER_OCTETS:
                return


def _read(response: httpx.Response, now: datetime) -> Answer:
    why = f"answered {response.status_code}"
    if response.is_success:
        return Answer(verdict=Verdict.TAKEN, why=why)
    if response.status_code in _AGAIN or response.is_server_error:
        after_s = _after_s(response.headers.get("retry-after", ""), now)
        return Answer(verdict=Verdict.LATER, why=why, after_s=after_s)
    return Answer(verdict=Verdict.NEVER, why=why)


def _after_s(value: str, now: datetime) -> float:
    """`Retry-After`, in seconds (RFC 9110 10.2.3); 0 for none, and for one that makes no sense."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
