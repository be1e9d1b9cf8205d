"""Whether a password is right: in the same time, with the same answer, whether the login exists or not.

A failed login costs one slow verification for each form in which any password is stored, real or for
show; so its time says nothing about the login. A successful one is remembered for a while under a keyed
digest, since slow is what those forms are made to be.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from smtp_router import credentials
from smtp_router.core.clock import Clock
from smtp_router.credentials import Kind, Verifier
from smtp_router.routing.epoch import Epoch, Route

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
        self._dummies = {kind: credentials.for_show(kind) for kind in Kind}

    def knows(self, epoch: Epoch, login: str, password: str) -> bool:
        """Whether it is remembered that this login has this password."""
        route = epoch.routes.get(login)
        return route is not None and self._is_remembered(
            self._digest(route.user.password.reveal(), login, password)
        )

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
        stored = _scram_form(epoch.routes.get(login))
        kind = None if stored is None else credentials.kind_of(stored)
        # A plain password has to be made a verifier first, which takes its time: for nobody, too.
        if Kind.PLAIN in epoch.password_kinds:
            plain = stored if stored is not None and kind is Kind.PLAIN else self._dummies[Kind.PLAIN]
            derived = await self._derived(login, plain)
            if kind is Kind.PLAIN:
                return derived
        if stored is not None:
            return credentials.verifier_of(stored)
        nobody = self._digest("key", login, "")
        return Verifier(
            salt=self._salt(login),
            stored_key=nobody,
            server_key=nobody,
            iterations=credentials.ITERATIONS,
        )

    async def _derived(self, login: str, password: str) -> Verifier:
        """The verifier of a password that is stored plain; remembered."""
        digest = self._digest(password, login, "")
        if digest not in self._verifiers:
            derive = partial(credentials.derive, password, salt=self._salt(login))
            self._verifiers[digest] = await asyncio.get_running_loop().run_in_executor(
                self._threads, derive
            )
            _bound(self._verifiers)
        return self._verifiers[digest]

    def _salt(self, login: str) -> bytes:
        return self._digest("salt", login, "")[:16]

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

    def _digest(self, one: str, two: str, three: str) -> bytes:
        """Of fixed length, so that comparing says nothing about the parts' lengths."""
        octets = f"{len(one)}:{len(two)}:{one}{two}{three}".encode(errors="surrogatepass")
        return hashlib.blake2b(octets, key=self._key, digest_size=32).digest()  # RFC 7693 2.9


def _scram_form(route: Route | None) -> str | None:
    if route is None:
        return None
    stored = route.user.password.reveal()
    return None if credentials.kind_of(stored) is Kind.ARGON2 else stored


def _bound(remembered: OrderedDict[bytes, Value]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
