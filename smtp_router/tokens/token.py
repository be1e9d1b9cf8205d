"""An access token, or why there is none."""

import re
from dataclasses import dataclass, field
from typing import Protocol

MAX_OCTETS = 8000
"""In base64 and with what stands around it, a line of AUTH has 12288 at most (RFC 4954 4)."""
MAX_LIFETIME_S = 86_400.0

_TOKEN = re.compile(r"[!-~]+")
"""VSCHAR, of which access tokens are made (RFC 6749 A.12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token.

    Args:
        text: the token itself; a secret.
        lifetime_s: how long it can be used, from when it was asked for.
    """

    text: str = field(repr=False)
    lifetime_s: float

    @classmethod
    def made_of(cls, text: object, lifetime_s: float) -> "Token":
        """A token from outside, checked: it is going to stand in a line of SMTP.

        Raises:
            TokenError: it is no token.
        """
        if not isinstance(text, str) or len(text) > MAX_OCTETS or not _TOKEN.fullmatch(text):
            raise TokenError("what was given is no access token")
        return cls(text=text, lifetime_s=min(max(lifetime_s, 0.0), MAX_LIFETIME_S))


class TokenError(Exception):
    """There is no token; the text says why, in words of our own, without anything secret."""


class Source(Protocol):
    """Where tokens come from; `str` says so for the log."""

    async def fetch(self) -> Token:
        """Get a new token; takes as long as it takes, and can be cancelled.

        Raises:
            TokenError: there is none.
        """
        ...
