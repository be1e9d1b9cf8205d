"""Private keys, read and parsed once, when the plugin is made.

No error shows any of a key, nor what the parser of one said: it may quote what it read.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nacl.signing
from dkim.crypto import UnparsableKeyError, parse_pem_private_key

RSA, ED25519 = b"rsa-sha256", b"ed25519-sha256"

_SEED_OCTETS = 32
_MIN_RSA_BITS = 1024  # RFC 8301 3.2
_MAX_FILE_OCTETS = 64 * 1024
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----")
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the seed in a private key of RFC 8410 7."""
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key, ready to sign.

    Args:
        domain: in ASCII and lower case.
        selector: where the public key is: `SELECTOR._domainkey.DOMAIN`.
        algorithm: as in the tag `a=`.
        private: what dkimpy signs with.
    """

    domain: bytes
    selector: bytes
    algorithm: bytes
    private: Any = field(repr=False)


Keys = Mapping[str, tuple[Key, ...]]


def read(given: object) -> Keys:
    """The option `keys`: domain → one key or several.

    Raises:
        ValueError: it is not valid; the text names the option.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError("keys: a mapping of domains, as {example.com: {selector: s1, key: …}}")
    keys: dict[str, tuple[Key, ...]] = {}
    for name, entry in given.items():
        place = f"keys.{name}"
        domain = in_ascii(name) if isinstance(name, str) else None
        if domain is None:
            raise ValueError(f"{place}: is no domain")
        if domain in keys:
            raise ValueError(f"{place}: is there twice")
        if not isinstance(entry, list):
            keys[domain] = (_key(place, domain, entry),)
            continue
        if not entry:
            raise ValueError(f"{place}: has no key")
        keys[domain] = tuple(_key(f"{place}[{i}]", domain, one) for i, one in enumerate(entry))
    return keys


def in_ascii(domain: str) -> str | None:
    """A domain in lower case and as DNS has it (RFC 5890); `None` if it is none."""
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    return domain if _DOMAIN.fullmatch(domain) else None


def _key(place: str, domain: str, entry: object) -> Key:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: a mapping, as {{selector: s1, key: …}}")
    for name in entry:
        if name not in {"selector", "key", "key_file"}:
            raise ValueError(f"{place}: takes selector, and key or key_file, and nothing else")
    selector = entry.get("selector")
    if not isinstance(selector, str) or not _DOMAIN.fullmatch(selector.lower()):
        raise ValueError(f"{place}.selector: a name such as s1")
    if ("key" in entry) == ("key_file" in entry):
        raise ValueError(f"{place}: either key or key_file")
    if "key" in entry:
        place, text = f"{place}.key", entry["key"]
        if not isinstance(text, str):
            raise ValueError(f"{place}: the key's text, as of ${{file:./key.pem}}")
        octets = text.encode()
    else:
        place = f"{place}.key_file"
        octets = _file(place, entry["key_file"])
    algorithm, private = _parse(place, octets)
    return Key(domain=domain.encode(), selector=selector.encode(), algorithm=algorithm, private=private)


def _file(place: str, path: object) -> bytes:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(
            f"{place}: an absolute path; for one beside the configuration, key: ${{file:…}}"
        )
    try:
        with Path(path).open("rb") as file:
            octets = file.read(_MAX_FILE_OCTETS + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise ValueError(f"{place}: cannot be read: {reason}") from None
    if len(octets) > _MAX_FILE_OCTETS:
        raise ValueError(f"{place}: is too large for a key")
    return octets


def _parse(place: str, octets: bytes) -> tuple[bytes, Any]:
    """The algorithm, which the key's form tells, and what dkimpy signs with.

    Raises:
        ValueError: it is no private key, or one with a passphrase, or too small.
    """
    octets = octets.replace(b"\r\n", b"\n").strip()
    pem = _PEM.fullmatch(octets)
    if pem and pem[1] != b"ENCRYPTED PRIVATE KEY":
        der = _from_base64(pem[2])
        if der[: len(_PKCS8_ED25519)] == _PKCS8_ED25519:
            return ED25519, _ed25519(place, der[len(_PKCS8_ED25519) :])
        return RSA, _rsa(place, octets)
    if b"ENCRYPTED" in octets:
        raise ValueError(f"{place}: has a passphrase; use a key without one")
    return ED25519, _ed25519(place, _from_base64(octets))


def _ed25519(place: str, seed: bytes) -> Any:  # noqa: ANN401 - dkimpy's business
    if len(seed) != _SEED_OCTETS:
        raise ValueError(f"{place}: is no private key: PEM, or an Ed25519 seed in Base64")
    return nacl.signing.SigningKey(seed)


def _rsa(place: str, octets: bytes) -> Any:  # noqa: ANN401 - as dkimpy has it
    try:
        private = parse_pem_private_key(octets)
        bits = private["modulus"].bit_length()
    except (UnparsableKeyError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{place}: is no private key of RSA or Ed25519") from None
    if bits < _MIN_RSA_BITS:
        raise ValueError(f"{place}: has {bits} bits; verifiers want {_MIN_RSA_BITS} or more")
    return private


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.replace(b"\n", b""), validate=True)
    except ValueError:
        return b""
