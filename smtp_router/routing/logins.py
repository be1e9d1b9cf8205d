"""Whether a login's password is right, in the same time whether the login exists or not."""

import hmac

from smtp_router.routing.epoch import Epoch


class Logins:
    """Compares keyed digests, so that neither length nor content of a password shows in the time."""

    def __init__(self, key: bytes) -> None:
        """Digests are made with this key: random, and never kept longer than the process."""
        self._key = key

    def check(self, epoch: Epoch, login: str, password: str) -> bool:
        """Whether this login has this password."""
        route = epoch.routes.get(login)
        expected = route.user.password.reveal() if route else ""
        same = hmac.compare_digest(self._digest(expected), self._digest(password))
        return same and route is not None

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode(), "sha256")
