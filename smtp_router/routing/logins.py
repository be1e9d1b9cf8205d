"""Whether a password is right: in the same time, with the same answer, whether the login exists or not.

A failed login costs one slow verification for each form in which any password is stored, real or for
show; so its time says nothing about the login. A successful one is remembered for a while under a keyed
digest, since slow is what those forms are made to be. The digest is that of the one octet string with
which most clients log in each time, so that for somebody who is known nothing has to be taken apart.
"""

import asyncio
import hashlib
import hmac
import weakref
from binascii import b2a_base64
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Success:
    """A login that has succeeded.

    Args:
        login: whose.
        stored: the digest of the form in which the password was stored.
        until: when it is forgotten.
        epoch: one in which the password is known to be stored in that form.
    """

    login: str
    stored: bytes
    until: float
    epoch: weakref.ref[Epoch]


class Logins:
    """Checks logins against the epoch at work."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        """Nothing is remembered yet.

        Args:
            key: for digests; random, and never kept longer than the process.
            clock: for how long a success is remembered.
        """
        # Nobody can go on from a digest by BLAKE2b, so a key in front makes it a keyed one, as its own
        # way does (RFC 7693 2.9), but that fills a block with the key: then most logins take two.
        self._digest_begun = hashlib.blake2b(key, digest_size=32)
        self._now = clock.now
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="login")
        self._remembered: OrderedDict[bytes, _Success] = OrderedDict()
        self._verifiers: OrderedDict[bytes, Verifier] = OrderedDict()
        self._dummies = {kind: credentials.for_show(kind) for kind in Kind}

    def known(self, epoch: Epoch, response: bytes) -> str | None:
        """The login whose password is in this response to AUTH PLAIN, if both are remembered.

        Args:
            epoch: the one at work.
            response: in base64; one that is written in another way than most do is not known.
        """
        digest = self._digest_begun.copy()  # as in `_keyed`, which would be a call
        digest.update(response)
        success, now = self._remembered.get(digest.digest()), self._now
        if success is None or now() >= success.until:
            return None
        known_in = success.epoch
        if known_in() is not epoch:
            route = epoch.routes.get(success.login)
            if route is None or self._of_stored(route.user.password.reveal()) != success.stored:
                return None
            success.epoch = weakref.ref(epoch)
        return success.login

    async def check(self, epoch: Epoch, login: str, password: str) -> bool:
        """Whether this login has this password."""
        response = _plain_response(login, password)
        if self.known(epoch, response) == login:
            return True
        route = epoch.routes.get(login)
        stored = route.user.password.reveal() if route else self._dummies[Kind.PLAIN]
        right = await self._verify(stored, password) and route is not None
        if right:
            if "\0" not in login + password:  # else it is no response (RFC 4616 2), or another login's
                self._remember(response, login, self._of_stored(stored), epoch)
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
            return hmac.compare_digest(self._of_stored(stored), self._of_stored(password))
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, credentials.verify, stored, password
        )

    def _remember(self, response: bytes, login: str, stored: bytes, epoch: Epoch) -> None:
        until = self._now() + REMEMBER_S
        self._remembered[self._keyed(response)] = _Success(login, stored, until, weakref.ref(epoch))
        _bound(self._remembered)

    def _keyed(self, octets: bytes) -> bytes:
        digest = self._digest_begun.copy()  # to begin one takes half as long again
        digest.update(octets)
        return digest.digest()

    def _of_stored(self, password: str) -> bytes:
        return self._digest(password, "", "")

    def _digest(self, one: str, two: str, three: str) -> bytes:
        """Of fixed length, so that comparing says nothing about the parts' lengths."""
        octets = f"{len(one)}:{len(two)}:{one}{two}{three}".encode(errors="surrogatepass")
        return self._keyed(octets)


def _plain_response(login: str, password: str) -> bytes:
    """What most clients answer AUTH PLAIN with: no other identity, and the base64 of RFC 4648 4."""
    return b2a_base64(f"\0{login}\0{password}".encode(errors="surrogatepass"), newline=False)


def _scram_form(route: Route | None) -> str | None:
    if route is None:
        return None
    stored = route.user.password.reveal()
    return None if credentials.kind_of(stored) is Kind.ARGON2 else stored


def _bound(remembered: OrderedDict[bytes, Value]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
