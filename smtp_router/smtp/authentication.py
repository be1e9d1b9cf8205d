"""The router's login at a downstream: one mechanism is chosen, and one is tried.

Three failures lock an account at some servers, and a wrong password is wrong by any mechanism. So a
login that failed is not followed by another, and neither is a token that was refused by a fresh one:
it is forgotten, and the next message gets one.
"""

import asyncio
import base64
from collections.abc import Collection

import aiosmtplib

from smtp_router.config.auth import Auth
from smtp_router.config.settings import Downstream
from smtp_router.core.outcome import Deferred, Stage
from smtp_router.core.reply import printable
from smtp_router.smtp.lockstep import Lockstep
from smtp_router.smtp.mechanisms import (
    CramMD5,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    ScramSHA256,
    XOAuth2,
)
from smtp_router.smtp.verdict import AttemptEnded
from smtp_router.tokens.token import TokenError
from smtp_router.tokens.tokens import Tokens

BY_PASSWORD: tuple[type[ScramSHA256 | Plain | Login | CramMD5], ...]
BY_PASSWORD = (ScramSHA256, Plain, Login, CramMD5)
"""In order of preference. CRAM-MD5 is last: it proves the password by a broken hash, and who offers it
has to know the password as it is."""

AUTH_SUCCEEDED = 235
CONTINUE = 334
CANCEL = b"*"
MAX_COMMAND_OCTETS = 512
"""With CRLF. What makes AUTH longer has to wait until it is asked for (RFC 4954 4)."""


class Authentication:
    """One login."""

    def __init__(self, downstream: Downstream) -> None:
        """Nothing is said yet.

        Args:
            downstream: with the login.
        """
        self._downstream = downstream
        self._secrets: list[str] = []
        if downstream.password is not None:
            self._secrets.append(downstream.password.reveal())

    async def run(self, client: Lockstep, tokens: Tokens) -> None:
        """Log in; the caller has the clock.

        Args:
            client: connected, and greeted with EHLO.
            tokens: where access tokens are.

        Raises:
            AttemptEnded: there is no mechanism or no token, or the server does not keep to the rules.
            SMTPResponseException: the server refuses.
        """
        auth = self._downstream.auth
        if auth is not None and auth.takes_token:
            await self._by_token(client, tokens, auth)
        else:
            await self._speak(client, self._by_password(client.auth_mechanisms))

    def hide(self, text: str) -> str:
        """A reply's text with our secrets taken out, if the downstream repeats what it was sent."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _by_password(self, offered: Collection[str]) -> Mechanism:
        user, password = self._downstream.user, self._downstream.password
        assert user is not None
        assert password is not None
        auth = self._downstream.auth
        reason = _not_offered(offered)
        for kind in BY_PASSWORD:
            name = kind.name.lower()
            if name in offered and (auth is None or name == auth.type):
                try:
                    return kind(user, password.reveal())
                except ValueError as error:  # nothing was said yet, so another one may be
                    reason = f"{kind.name}: {error}"
        raise _failed(reason)

    async def _by_token(self, client: Lockstep, tokens: Tokens, auth: Auth) -> None:
        user = self._downstream.user
        assert user is not None
        offered = client.auth_mechanisms
        if auth.type not in offered:
            raise _failed(_not_offered(offered))
        cache = tokens.of(auth)
        try:
            token = await cache.get()
        except TokenError as error:
            raise _failed(str(error)) from error
        self._secrets.append(token)
        mechanism = (
            XOAuth2(user, token)
            if auth.type == "xoauth2"
            else OAuthBearer(user, token, self._downstream.addr)
        )
        try:
            await self._speak(client, mechanism)
        except aiosmtplib.SMTPResponseException as error:
            if mechanism.is_refused or error.code >= 500:  # noqa: PLR2004 - any 5yz
                cache.drop(token)
            raise

    async def _speak(self, client: Lockstep, mechanism: Mechanism) -> None:
        """Say what the mechanism says, until the server has heard enough."""
        verb = f"AUTH {mechanism.name}".encode()
        said = mechanism.begin()
        line = verb if said is None else verb + b" " + (self._encoded(said) or b"=")
        if len(line) + 2 <= MAX_COMMAND_OCTETS:
            said = None
        else:
            line = verb
        code, text = await client.execute_command(line)
        while code == CONTINUE:
            try:
                if said is None:
                    said = await _answer(mechanism, text)
            except ValueError as error:
                await client.execute_command(CANCEL)
                raise _failed(f"{mechanism.name}: {error}") from error
            code, text = await client.execute_command(self._encoded(said))
            said = None
        if code != AUTH_SUCCEEDED:
            raise aiosmtplib.SMTPResponseException(code, text)
        try:
            mechanism.end()
        except ValueError as error:
            raise _failed(f"{mechanism.name}: {error}") from error

    def _encoded(self, said: bytes) -> bytes:
        """In base64, and noted: it may be a secret."""
        encoded = base64.b64encode(said)
        if encoded:
            self._secrets.append(encoded.decode("ascii"))
        return encoded


async def _answer(mechanism: Mechanism, challenge: str) -> bytes:
    if mechanism.is_slow:
        return await asyncio.to_thread(mechanism.answer, challenge)
    return mechanism.answer(challenge)


def _not_offered(offered: Collection[str]) -> str:
    return f"no mechanism for the login: offered {' '.join(offered) or 'none'}"


def _failed(reason: str) -> AttemptEnded:
    return AttemptEnded(Deferred(stage=Stage.AUTH, reason=printable(reason)))
