"""A token from an OAuth 2.0 token endpoint, for a refresh token (RFC 6749 6). The only oauthlib import.

Who gives a new refresh token along with the access token may take the old one back: the new one is used
from then on. It is kept in memory only.
"""

import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from oauthlib.oauth2 import Client, OAuth2Error  # type: ignore[import-untyped]  # it has no types

from smtp_router.tokens.http import HTTPError, post
from smtp_router.tokens.token import Token, TokenError

_CODES = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"}
    | {"unsupported_grant_type", "access_denied", "temporarily_unavailable", "server_error"}
)
"""What is repeated of an answer (RFC 6749 5.2, and some that are said all the same): nothing else, since
anything else could hold what we have sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an access token is got with.

    Args:
        token_url: the endpoint; `https`, or on this machine.
        client_id: who we are there.
        client_secret: our secret there, if we have one.
        refresh_token: what is exchanged.
        scope: what to ask for; `None`: what the refresh token was given for.
        lifetime_s: how long a token lives that does not say so.
    """

    token_url: str
    client_id: str
    client_secret: str | None = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str | None
    lifetime_s: float


class Endpoint:
    """Exchanges a refresh token for access tokens."""

    def __init__(self, grant: Grant, context: Callable[[], Awaitable[ssl.SSLContext]]) -> None:
        """Nothing is asked yet.

        Args:
            grant: what is exchanged, and where.
            context: gives what TLS goes by.
        """
        self._grant = grant
        self._refresh_token = grant.refresh_token
        self._context = context

    def __str__(self) -> str:
        """The endpoint's host."""
        return urlsplit(self._grant.token_url).hostname or ""

    async def fetch(self) -> Token:
        """Ask for a token.

        Raises:
            TokenError: it was refused, or nothing came back that can be understood.
        """
        try:
            response = await post(self._grant.token_url, self._form(), await self._context())
        except HTTPError as error:
            raise TokenError(f"token endpoint: {error}") from None
        except OSError as error:
            raise TokenError(f"token endpoint: {error.strerror or type(error).__name__}") from None
        except UnicodeError:
            raise TokenError("token endpoint: a name with an empty or overlong label") from None
        if response.status != HTTPStatus.OK:
            raise TokenError(f"token endpoint: answered {response.status}{_code_in(response.body)}")
        answer = _read(response.body)
        lifetime_s = answer.get("expires_in")
        token = Token.made_of(
            answer.get("access_token"),
            lifetime_s if isinstance(lifetime_s, int) else self._grant.lifetime_s,
        )
        refresh_token = answer.get("refresh_token")
        if isinstance(refresh_token, str) and refresh_token:
            self._refresh_token = refresh_token
        return token

    def _form(self) -> bytes:
        grant = self._grant
        client = Client(grant.client_id, refresh_token=self._refresh_token)
        more = {} if grant.client_secret is None else {"client_secret": grant.client_secret}
        body: str = client.prepare_refresh_body(scope=grant.scope, client_id=grant.client_id, **more)
        return body.encode()


def _read(body: bytes) -> dict[str, Any]:
    """The answer's parameters (RFC 6749 5.1).

    Raises:
        TokenError: it is none, or says that there is no token.
    """
    try:
        if not isinstance(json.loads(body), dict):
            raise TypeError("no JSON object")
        answer: dict[str, Any] = Client("").parse_request_body_response(body.decode())
    except OAuth2Error as error:
        raise TokenError(f"token endpoint: gave no token{_known(error.error)}") from None
    except Exception:  # noqa: BLE001 - whatever somebody else's answer makes a parser raise
        raise TokenError("token endpoint: its answer is no JSON that says what it has to") from None
    return answer


def _code_in(body: bytes) -> str:
    """The code of a refusal (RFC 6749 5.2)."""
    try:
        return _known(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _known(code: object) -> str:
    """A code to be repeated, if it is one of those that are known."""
    return f" ({code})" if isinstance(code, str) and code in _CODES else ""
