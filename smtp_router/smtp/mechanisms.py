"""The client's side of AUTH's mechanisms: what is said to which challenge. No I/O.

| mechanism | source |
|---|---|
| PLAIN | RFC 4616 |
| LOGIN | draft-murchison-sasl-login |
| CRAM-MD5 | RFC 2195 |
| SCRAM-SHA-256 | RFC 5802, RFC 7677 |
| XOAUTH2 | https://developers.google.com/workspace/gmail/imap/xoauth2-protocol |
| OAUTHBEARER | RFC 7628 |
"""

import base64
import hmac
from typing import ClassVar

from smtp_router.config.types import HostPort, UnixPath
from smtp_router.credentials import ScramLogin


class Mechanism:
    """One login by one mechanism."""

    name: ClassVar[str]
    is_slow: ClassVar[bool] = False
    """Whether an answer takes more than a moment, and so a thread."""

    def begin(self) -> bytes | None:
        """What is said without being asked; `None`: nothing."""
        return None

    def answer(self, challenge: str) -> bytes:
        """What is said to a challenge, which is in base64, if the server keeps to the rules.

        Raises:
            ValueError: the login cannot go on, and is to be cancelled.
        """
        del challenge
        raise ValueError("a challenge out of place")

    def end(self) -> None:
        """The server says that all is well.

        Raises:
            ValueError: too early.
        """


class Plain(Mechanism):
    """All at once."""

    name = "PLAIN"

    def __init__(self, user: str, password: str) -> None:
        """Begin anew.

        Raises:
            ValueError: a NUL, which stands between the two.
        """
        if "\0" in user + password:
            raise ValueError("a NUL in user or password")
        self._said = f"\0{user}\0{password}".encode()

    def begin(self) -> bytes:
        """Who, and what proves it."""
        return self._said


class Login(Mechanism):
    """One after the other. What the server asks with differs from one to the next, and is not read."""

    name = "LOGIN"

    def __init__(self, user: str, password: str) -> None:
        """Begin anew."""
        self._left = [password.encode(), user.encode()]

    def answer(self, challenge: str) -> bytes:
        """The user, then the password."""
        return self._left.pop() if self._left else super().answer(challenge)


class CramMD5(Mechanism):
    """A digest of the challenge with the password for a key."""

    name = "CRAM-MD5"

    def __init__(self, user: str, password: str) -> None:
        """Begin anew."""
        self._user = user
        self._password = password
        self._has_answered = False

    def answer(self, challenge: str) -> bytes:
        """Who, and the digest."""
        if self._has_answered:
            return super().answer(challenge)
        self._has_answered = True
        digest = hmac.new(self._password.encode(), _octets(challenge), "md5").hexdigest()
        return f"{self._user} {digest}".encode()

    def end(self) -> None:
        """Not before the answer."""
        if not self._has_answered:
            raise ValueError("no challenge")


class ScramSHA256(Mechanism):
    """Both sides prove that they know the password, or what was made from it."""

    name = "SCRAM-SHA-256"
    is_slow = True

    def __init__(self, user: str, password: str) -> None:
        """Begin anew.

        Raises:
            ValueError: characters that it does not allow.
        """
        self._login = ScramLogin(user, password)
        self._has_answered = self._is_checked = False

    def begin(self) -> bytes:
        """Who, and a random number."""
        return self._login.begin()

    def answer(self, challenge: str) -> bytes:
        """Our proof, then nothing to the server's own."""
        if self._is_checked:
            return super().answer(challenge)
        if self._has_answered:
            self._login.check(_octets(challenge))
            self._is_checked = True
            return b""
        self._has_answered = True
        return self._login.answer(_octets(challenge))

    def end(self) -> None:
        """Not before the server's proof: whoever takes any password takes our mail as well."""
        if not self._is_checked:
            raise ValueError("the server has not shown that it knows the password itself")


class Bearer(Mechanism):
    """A token. What the server asks then is why it does not like it, and what it gets is an end."""

    _end: ClassVar[bytes]

    def __init__(self, said: str) -> None:
        """Begin anew.

        Args:
            said: who, and the token.
        """
        self._said = said.encode()
        self.is_refused = False

    def begin(self) -> bytes:
        """Who, and the token."""
        return self._said

    def answer(self, challenge: str) -> bytes:
        """Whatever lets the server say no."""
        if self.is_refused:
            return super().answer(challenge)
        self.is_refused = True
        return self._end

    def end(self) -> None:
        """Not after that."""
        if self.is_refused:
            raise ValueError("a refusal that ends well")


class XOAuth2(Bearer):
    """As Google and Microsoft have it."""

    name = "XOAUTH2"
    _end = b""

    def __init__(self, user: str, token: str) -> None:
        """Begin anew."""
        super().__init__(f"user={user}\1auth=Bearer {token}\1\1")


class OAuthBearer(Bearer):
    """As the standard has it."""

    name = "OAUTHBEARER"
    _end = b"\1"  # RFC 7628 3.2.3

    def __init__(self, user: str, token: str, server: HostPort | UnixPath) -> None:
        """Begin anew."""
        name = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 4
        where = f"host={server.host}\1port={server.port}\1" if isinstance(server, HostPort) else ""
        super().__init__(f"n,a={name},\1{where}auth=Bearer {token}\1\1")


def _octets(challenge: str) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except ValueError:
        raise ValueError("a challenge that is no base64") from None
