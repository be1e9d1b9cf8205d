"""How a password can be stored, and what each form can answer.

| form | looks like | PLAIN, LOGIN | SCRAM-SHA-256 |
|---|---|---|---|
| plain | anything else | compared | yes |
| argon2 | `$argon2id$v=19$…` | verified, slow by design | no |
| scram | `SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY` (RFC 5803) | derived and compared, slow | yes |

Nothing here waits, and what is called slow takes tens of milliseconds: callers run it in a thread. The
only argon2 and scramp import; scramp comes when it is used: its ASN.1 library takes 15 ms and 4 MB.
"""

import base64
import binascii
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import argon2

SCRAM = "SCRAM-SHA-256"
ITERATIONS = 4096
"""RFC 7677 4."""
MAX_ITERATIONS = 1_000_000
"""More than this, half a second of a core, no server gets out of us."""

_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_ARGON2 = re.compile(r"\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_OTHER_HASHES = re.compile(
    r"\$(?:2[abxy]|5|6|y|1|apr1|scrypt|pbkdf2[a-z0-9-]*)\$|\{[A-Z0-9-]+\}|SCRAM-SHA-"
)
_DIGEST_OCTETS = 32
_MIN_SALT_OCTETS = 12
"""What scramp takes at least."""


class Kind(StrEnum):
    """The forms of the table above."""

    PLAIN = "plain"
    ARGON2 = "argon2"
    SCRAM = "scram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What a server needs to answer SCRAM for one login, without knowing the password (RFC 5802 3)."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int


def kind_of(stored: str) -> Kind:
    """Which form this is.

    Raises:
        ValueError: a hash that is malformed, or of a kind that is not known here; the text says what to
            do, and nothing of the hash.
    """
    if stored.startswith("$argon2"):
        if not _is_argon2(stored):
            message = "is a malformed argon2 hash: make one with smtp-router hash-password"
            raise ValueError(message)
        return Kind.ARGON2
    if stored.startswith(f"{SCRAM}$"):
        verifier_of(stored)
        return Kind.SCRAM
    if _OTHER_HASHES.match(stored):
        message = "is a hash of a kind that is not known: make one with smtp-router hash-password"
        raise ValueError(message)
    return Kind.PLAIN


def _is_argon2(stored: str) -> bool:
    """Whether a password can be compared with it: what argon2 cannot read would let nobody in."""
    if not _ARGON2.fullmatch(stored):
        return False
    try:
        parameters = argon2.extract_parameters(stored)
    except argon2.exceptions.InvalidHashError:
        return False
    return parameters.salt_len >= 8 and parameters.hash_len >= 4  # noqa: PLR2004 - RFC 9106 3.1


def _scramp() -> Any:  # noqa: ANN401 - it has no types
    import scramp  # type: ignore[import-untyped]  # noqa: PLC0415 - see above

    return scramp


def verify(stored: str, password: str) -> bool:
    """Whether this is the password; slow unless it is stored plain."""
    kind = kind_of(stored)
    if kind is Kind.ARGON2:
        try:
            return argon2.PasswordHasher().verify(stored, password)
        except argon2.exceptions.VerificationError:
            return False
    if kind is Kind.SCRAM:
        known = verifier_of(stored)
        try:
            derived = derive(password, salt=known.salt, iterations=known.iterations)
        except ValueError:
            return False
        return hmac.compare_digest(derived.stored_key, known.stored_key)
    return hmac.compare_digest(stored.encode(), password.encode())


def verifier_of(stored: str) -> Verifier:
    """The SCRAM verifier in its stored form.

    Raises:
        ValueError: it is malformed.
    """
    match = _SCRAM.fullmatch(stored)
    try:
        if match is None:
            raise ValueError(stored)
        salt, stored_key, server_key = (
            base64.b64decode(part, validate=True) for part in match.groups()[1:]
        )
        if len(stored_key) != _DIGEST_OCTETS or len(server_key) != _DIGEST_OCTETS:
            raise ValueError(stored)
        if len(salt) < _MIN_SALT_OCTETS or int(match[1]) < ITERATIONS:
            raise ValueError(stored)
    except (ValueError, binascii.Error):
        message = "is a malformed SCRAM verifier: make one with smtp-router hash-password --scheme scram"
        raise ValueError(message) from None
    return Verifier(salt=salt, stored_key=stored_key, server_key=server_key, iterations=int(match[1]))


def derive(password: str, *, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """The SCRAM verifier of a password; slow.

    Raises:
        ValueError: characters that a password cannot have (RFC 4013).
    """
    try:
        _, stored_key, server_key, _ = (
            _scramp()
            .ScramMechanism(SCRAM)
            .make_auth_info(password, iteration_count=iterations, salt=salt)
        )
    except _scramp().ScramException as error:
        raise ValueError(str(error)) from None
    return Verifier(salt=salt, stored_key=stored_key, server_key=server_key, iterations=iterations)


def make(kind: Kind, password: str) -> str:
    """A password in the form to be stored.

    Raises:
        ValueError: characters that a SCRAM password cannot have.
    """
    if kind is Kind.ARGON2:
        return argon2.PasswordHasher().hash(password)
    if kind is Kind.SCRAM:
        verifier = derive(password, salt=secrets.token_bytes(16))
        encoded = [
            base64.b64encode(part).decode("ascii")
            for part in (verifier.salt, verifier.stored_key, verifier.server_key)
        ]
        return f"{SCRAM}${verifier.iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
    return password


def for_show(kind: Kind) -> str:
    """What is nobody's password, as slow to compare with as one of this kind is, and quickly made."""
    if kind is Kind.ARGON2:
        usual = argon2.PasswordHasher()
        salt, digest = (
            base64.b64encode(secrets.token_bytes(octets)).decode("ascii").rstrip("=")
            for octets in (usual.salt_len, usual.hash_len)
        )
        costs = f"m={usual.memory_cost},t={usual.time_cost},p={usual.parallelism}"
        return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"
    if kind is Kind.SCRAM:
        salt, stored_key, server_key = (
            base64.b64encode(secrets.token_bytes(octets)).decode("ascii")
            for octets in (16, _DIGEST_OCTETS, _DIGEST_OCTETS)
        )
        return f"{SCRAM}${ITERATIONS}:{salt}${stored_key}:{server_key}"
    return secrets.token_hex()


class ScramExchange:
    """The server's side of one SCRAM-SHA-256 login (RFC 5802 5, RFC 7677)."""

    def __init__(self) -> None:
        """Nothing is said yet."""
        self.login = ""
        """The login name, after `read_name`."""
        self._first = ""
        self._server: Any = None

    def read_name(self, client_first: bytes) -> str:
        """The login name in the client's first message.

        Raises:
            ValueError: malformed, or the client wants to act for somebody else.
        """
        self._first = client_first.decode()
        parts = self._first.split(",", 3)
        if len(parts) != 4 or not parts[2].startswith("n="):  # noqa: PLR2004 - flag, authzid, name, rest
            message = "malformed"
            raise ValueError(message)
        self.login = parts[2][2:].replace("=2C", ",").replace("=3D", "=")
        identity = parts[1].removeprefix("a=").replace("=2C", ",").replace("=3D", "=")
        if identity not in ("", self.login):
            message = "an identity other than the login"
            raise ValueError(message)
        return self.login

    def challenge(self, verifier: Verifier) -> bytes:
        """The server's first message, made from what is stored for the login.

        Raises:
            ValueError: the client's first message is not acceptable.
        """
        entry = (verifier.salt, verifier.stored_key, verifier.server_key, verifier.iterations)
        self._server = _scramp().ScramMechanism(SCRAM).make_server(lambda _: entry)
        try:
            self._server.set_client_first(self._first)
            return str(self._server.get_server_first()).encode()
        except _scramp().ScramException as error:
            raise ValueError(str(error)) from None

    def finish(self, client_final: bytes) -> bytes:
        """The server's last message: the password was right.

        Raises:
            ValueError: it was not, or the message is malformed.
        """
        assert self._server is not None
        try:
            self._server.set_client_final(client_final.decode())
            return str(self._server.get_server_final()).encode()
        except _scramp().ScramException as error:
            raise ValueError(str(error)) from None


class ScramLogin:
    """The client's side of one SCRAM-SHA-256 login, without channel binding (RFC 5802 5, RFC 7677)."""

    def __init__(self, login: str, password: str, *, nonce: str | None = None) -> None:
        """Nothing is said yet.

        Args:
            login: the login name.
            password: what proves it.
            nonce: printable ASCII without commas that is used once; `None`: a random one.

        Raises:
            ValueError: characters that a login or password cannot have (RFC 4013).
        """
        try:
            self._client = _scramp().ScramClient([SCRAM], login, password, c_nonce=nonce)
        except _scramp().ScramException:
            raise ValueError("a character that SCRAM does not allow") from None

    def begin(self) -> bytes:
        """The client's first message."""
        return str(self._client.get_client_first()).encode()

    def answer(self, server_first: bytes) -> bytes:
        """The client's last message; slow.

        Raises:
            ValueError: the server's first message is malformed, is not for us, or asks for too much
                work.
        """
        try:
            self._client.set_server_first(server_first.decode())
            if int(self._client.iterations) > MAX_ITERATIONS:
                raise ValueError("too many iterations")
            return str(self._client.get_client_final()).encode()
        except _scramp().ScramException:
            raise ValueError("a malformed challenge") from None

    def check(self, server_final: bytes) -> None:
        """See that the server knows the password, too.

        Raises:
            ValueError: it does not.
        """
        try:
            self._client.set_server_final(server_final.decode())
        except _scramp().ScramException:
            raise ValueError("the server does not know the password itself") from None
