"""The server's side of AUTH's longer mechanisms, by the letter of their RFCs and from hashlib alone.

Each is called with a function that sends a challenge and gives the response, the client's initial
response, and the user and password (or token) that are right. It gives who logged in, and whether that
was right.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

Ask: TypeAlias = Callable[[bytes, bytes], bytes]
"""Takes a challenge and what has been said without one, if anything; gives what is said."""
Server: TypeAlias = Callable[[Ask, bytes, bytes, bytes], tuple[bytes, bool]]

CHALLENGE: Final = b"<1896.697170952@postoffice.example>"


def cram_md5(ask: Ask, initial: bytes, user: bytes, password: bytes) -> tuple[bytes, bool]:
    """RFC 2195."""
    assert not initial, "CRAM-MD5 has no initial response"
    name, _, digest = ask(CHALLENGE, b"").rpartition(b" ")
    right = hmac.new(password, CHALLENGE, hashlib.md5).hexdigest().encode()
    return name, (name, digest) == (user, right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scram:
    """RFC 5802 with SHA-256 (RFC 7677); what a test wants otherwise is said to the constructor."""

    iterations: int = 4096
    salt: bytes = b"W22ZaJ0SNY7soEsUEjb6gQ=="
    nonce: bytes = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    first: Callable[[bytes], bytes] = field(default=lambda message: message)
    final: Callable[[bytes], bytes] = field(default=lambda message: message)
    proves_itself: bool = True

    def __call__(self, ask: Ask, initial: bytes, user: bytes, password: bytes) -> tuple[bytes, bool]:
        """One login."""
        client_first = ask(b"", initial)
        match = re.fullmatch(rb"n,,(n=([^,]+),r=([!-+\--~]+))", client_first)
        assert match, client_first
        bare, name, nonce = match.groups()
        name = name.replace(b"=2C", b",").replace(b"=3D", b"=")
        server_first = b"r=%b%b,s=%b,i=%d" % (nonce, self.nonce, self.salt, self.iterations)
        client_final = ask(self.first(server_first), b"")
        without_proof, _, proof = client_final.rpartition(b",p=")
        assert without_proof == b"c=biws,r=" + nonce + self.nonce, client_final
        said = b",".join((bare, server_first, without_proof))
        salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(self.salt), self.iterations)
        client_key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), said)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if name != user or base64.b64decode(proof) != expected:
            return name, False
        verifier = b"v=" + base64.b64encode(_hmac(_hmac(salted, b"Server Key"), said))
        if self.proves_itself:
            assert ask(self.final(verifier), b"") == b"", "nothing is left to say"
        return name, True


def xoauth2(ask: Ask, initial: bytes, user: bytes, token: bytes) -> tuple[bytes, bool]:
    """As Google describes it."""
    match = re.fullmatch(rb"user=([^\x01]*)\x01auth=Bearer ([!-~]+)\x01\x01", ask(b"", initial))
    assert match
    right = match.groups() == (user, token)
    if not right:
        assert ask(json.dumps({"status": "400", "schemes": "Bearer"}).encode(), b"") == b""
    return match[1], right


def oauthbearer(ask: Ask, initial: bytes, user: bytes, token: bytes) -> tuple[bytes, bool]:
    """RFC 7628."""
    pattern = rb"n,a=([^,]*),\x01host=([^\x01]+)\x01port=(\d+)\x01auth=Bearer ([!-~]+)\x01\x01"
    match = re.fullmatch(pattern, ask(b"", initial))
    assert match
    name = match[1].replace(b"=2C", b",").replace(b"=3D", b"=")
    right = (name, match[4]) == (user, token)
    if not right:
        assert ask(json.dumps({"status": "invalid_token"}).encode(), b"") == b"\1"
    return name, right


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


SERVERS: Final[Mapping[str, Server]] = MappingProxyType(
    {
        "CRAM-MD5": cram_md5,
        "SCRAM-SHA-256": Scram(),
        "XOAUTH2": xoauth2,
        "OAUTHBEARER": oauthbearer,
    }
)
