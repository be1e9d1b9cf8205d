"""What is signed, and the signature's text.

The header goes through dkimpy, the body's hash is made in `_body`.
"""

import base64
import email.utils
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import dkim
from dkim.canonicalization import CanonicalizationPolicy

from smtp_router_dkim._body import body_hash
from smtp_router_dkim._keys import Key, Keys, in_ascii

_RELAXED = b"relaxed/relaxed"
_HEADER_END = re.compile(rb"\n\r?\n")
_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")

ALWAYS = (b"from", b"to", b"cc", b"subject", b"reply-to")
"""Signed once more than they are there, even if they are not: what a reader sees, and nobody on the way
has a reason to add (RFC 6376 8.15)."""
IF_THERE = (
    *(b"sender", b"date", b"message-id", b"mime-version", b"content-type"),
    *(b"content-transfer-encoding", b"in-reply-to", b"references", b"list-id"),
    *(b"list-unsubscribe", b"list-unsubscribe-post"),
)
"""The same, if they are there: a downstream adds them where they are missing. One-click unsubscription
has to be signed (RFC 8058 4)."""
AS_THEY_ARE = (
    *(b"resent-date", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc"),
    *(b"resent-message-id", b"list-help", b"list-subscribe", b"list-post", b"list-owner"),
    *(b"list-archive",),
)
"""Signed as often as they are there: another one may rightly come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields are signed."""

    always: tuple[bytes, ...] = ALWAYS
    if_there: tuple[bytes, ...] = IF_THERE
    as_they_are: tuple[bytes, ...] = AS_THEY_ARE

    @classmethod
    def without(cls, unsigned: object) -> Self:
        """All but these.

        Raises:
            ValueError: it is no list of field names, or has From, which has to be signed.
        """
        if not isinstance(unsigned, (list, tuple)):
            raise ValueError("unsigned: a list of field names")
        names = set()
        for name in unsigned:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"unsigned: {name!r} is no header field name")
            names.add(name.lower().encode())
        if b"from" in names:
            raise ValueError("unsigned: From is signed always (RFC 6376 5.4)")
        known = {*ALWAYS, *IF_THERE, *AS_THEY_ARE}
        if unknown := sorted(name.decode() for name in names - known):
            raise ValueError(f"unsigned: {unknown[0]} is not signed anyway")
        return cls(
            **{
                part: tuple(name for name in all_names if name not in names)
                for part, all_names in (
                    ("always", ALWAYS),
                    ("if_there", IF_THERE),
                    ("as_they_are", AS_THEY_ARE),
                )
            }
        )

    def of(self, there: Sequence[bytes]) -> list[bytes]:
        """The names for the tag `h=`, of a message with these fields (in lower case)."""
        signed = [name for name in self.always for _ in range(there.count(name) + 1)]
        for name in self.if_there:
            if count := there.count(name):
                signed += [name] * (count + 1)
        return signed + [name for name in self.as_they_are for _ in range(there.count(name))]


def sign(content: bytes, keys: Keys, fields: Fields) -> list[str]:
    """The values of `DKIM-Signature`, one for each key of the domain; none if it cannot be signed."""
    end = _HEADER_END.search(content)
    start = end.end() if end else len(content)
    try:
        signer = dkim.DKIM(content[:start])
    except (dkim.DKIMException, IndexError):  # a line in the header that is no field
        return []
    headers: list[tuple[bytes, bytes]] = signer.headers
    fitting = keys.get(_domain(headers), ())
    if not fitting:
        return []
    names = fields.of([name.lower() for name, _ in headers])
    digest = base64.b64encode(body_hash(content, start))
    return [_value(signer, key, names, digest) for key in fitting]


def _domain(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The domain of the author, `""` if it is not one: DMARC knows one only (RFC 7489 6.6.1)."""
    values = [value for name, value in headers if name.lower() == b"from"]
    if len(values) != 1:
        return ""
    # Not decoded before it is parsed: an encoded word may stand for another address's brackets.
    text = re.sub(r"\r?\n", "", values[0].decode("utf-8", "replace"))
    domains = {in_ascii(address.rpartition("@")[2]) for _, address in email.utils.getaddresses([text])}
    return (domains.pop() or "") if len(domains) == 1 else ""


def _value(signer: Any, key: Key, names: list[bytes], digest: bytes) -> str:  # noqa: ANN401 - untyped
    tags = [
        (b"v", b"1"),
        (b"a", key.algorithm),
        (b"c", _RELAXED),
        (b"d", key.domain),
        (b"s", key.selector),
        (b"t", b"%d" % time.time()),
        (b"h", b" : ".join(names)),
        (b"bh", digest),
        (b"b", b"0" * 60),  # a place, so that the lines above are folded as with the signature
    ]
    signer.signature_algorithm = key.algorithm
    signer.hasher = hashlib.sha256
    policy = CanonicalizationPolicy.from_c_value(_RELAXED)
    value: bytes = signer.gen_header(tags, names, policy, b"DKIM-Signature", key.private)
    return re.sub(r"\r\n ?", " ", value.decode("ascii")).strip()
