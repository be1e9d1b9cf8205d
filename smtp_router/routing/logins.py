"""Whether a password is right: in the same time, with the same answer, whether the login exists or not.

A failed login costs one slow verification for each form in which any password is stored, real or for
show; so its time says nothing about the login. A successful one is remembered for a while under a keyed
digest, since slow is what those forms are made to be.
"""

import asyncio
import hmac
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from smtp_router import credentials
from smtp_router.credentials import Kind, Verifier
from smtp_router.routing.epoch import Epoch, Route
from smtp_router.routing.ports import Clock

REMEMBER_S = 300.0
MAX_REMEMBERED = 10_000
THREADS = 2
"""Verifications at the same time: more would only take the cores away from the mail."""


Value = TypeVar("Value")


class Logins:
    """Checks logins against the epoch at work."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        """Nothing is remembered yet.

        Args:
            key: for digests; random, and never kept longer than the process.
            clock: for how long a success is remembered.
        """
        self._key = key
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="login")
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._verifiers: OrderedDict[bytes, Verifier] = OrderedDict()
        self._dummies = {kind: credentials.make(kind, "nobody has this one") for kind in Kind}

    async def check(self, epoch: Epoch, login: str, password: str) -> bool:
        """Whether this login has this password."""
        route = epoch.routes.get(login)
        stored = route.user.password.reveal() if route else self._dummies[Kind.PLAIN]
        digest = self._digest(stored, login, password)
        if route and self._is_remembered(digest):
            return True
        right = await self._verify(stored, password) and route is not None
        if right:
            self._remember(digest)
            return True
        for kind in epoch.password_kinds - {credentials.kind_of(stored), Kind.PLAIN}:
            await self._verify(self._dummies[kind], password)
        return False

    async def scram_verifier(self, epoch: Epoch, login: str) -> Verifier:
        """What SCRAM needs for a login; for one that is unknown, something nobody can answer.

        A salt that is made from the name stays the same, as that of a real login does.
        """
        route = epoch.routes.get(login)
        stored = _scram_form(route)
        if stored is None:
            salt = self._digest("salt", login, "")[:16]
            nobody = self._digest("key", login, "")
            return Verifier(
                salt=salt, stored_key=nobody, server_key=nobody, iterations=credentials.ITERATIONS
            )
        if credentials.kind_of(stored) is Kind.SCRAM:
            return credentials.verifier_of(stored)
        digest = self._digest(stored, login, "")
        if digest not in self._verifiers:
            salt = self._digest("salt", login, "")[:16]
            self._verifiers[digest] = await asyncio.get_running_loop().run_in_executor(
                self._threads, partial(credentials.derive, stored, salt=salt)
            )
            _bound(self._verifiers)
        return self._verifiers[digest]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _verify(self, stored: str, password: str) -> bool:
        if credentials.kind_of(stored) is Kind.PLAIN:
            return hmac.compare_digest(self._digest(stored, "", ""), self._digest(password, "", ""))
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, credentials.verify, stored, password
        )

    def _is_remembered(self, digest: bytes) -> bool:
        until = self._remembered.get(digest)
        return until is not None and self._clock.now() < until

    def _remember(self, digest: bytes) -> None:
        self._remembered[digest] = self._clock.now() + REMEMBER_S
        _bound(self._remembered)

    def _digest(self, *parts: str) -> bytes:
        """Of fixed length, so that comparing says nothing about the parts' lengths."""
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), "sha256")


def _scram_form(route: Route | None) -> str | None:
    if route is None:
        return None
    stored = route.user.password.reveal()
    return None if credentials.kind_of(stored) is Kind.ARGON2 else stored


def _bound(remembered: OrderedDict[bytes, Value]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
