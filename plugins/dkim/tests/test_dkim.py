import asyncio
import base64
import hashlib
import re
import threading
from pathlib import Path
from typing import Any

import dkim
import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtp_router import Defer, Message
from smtp_router.testing import conformance, make_message
from smtp_router_dkim import Dkim, _body
from smtp_router_dkim._body import body_hash

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - quick
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:  # noqa: ANN401 - of either kind
    octets: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return octets.decode().strip()  # as a reference to the file gives it


RSA, ED = pem(RSA_KEY), pem(ED_KEY)
SEED = base64.b64encode(ED_KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
RECORDS = {
    b"r": b"v=DKIM1; k=rsa; p="
    + base64.b64encode(
        RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    b"e": b"v=DKIM1; k=ed25519; p="
    + base64.b64encode(ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
}
BOTH = {"a.example": [{"selector": "r", "key": RSA}, {"selector": "e", "key": ED}]}
ONE = {"a.example": {"selector": "e", "key": ED}}

test_conformance = conformance(Dkim, {"keys": BOTH, "required": True})
test_conformance_without_requirement = conformance(Dkim, {"keys": ONE})

CONTENT = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <a@A.example>\r\nTo: b@b.example\r\nSubject: odd\t\r\n  fold\r\n"
    b"Message-ID: <1@a.example>\r\nList-Unsubscribe: <https://a.example/>\r\n\r\n"
    b"gr\xfc\xdfe \t \r\n.\r\n..\r\n" + 2000 * b"x" + b"\r\n\r\n\r\n"
)


def message(content: bytes = CONTENT) -> Message:
    return make_message(mail_from="bounces@other.example", content=content)


def holds(content: bytes, index: int = 0) -> bool:
    def record(name: bytes, **_: object) -> bytes:
        return RECORDS[name.split(b".")[0]]

    try:
        return bool(dkim.DKIM(content).verify(index, dnsfunc=record))
    except dkim.ValidationError:  # the body is another one
        return False


async def signed(content: bytes = CONTENT, **options: Any) -> Message:  # noqa: ANN401 - its options
    changed = await Dkim(**{"keys": ONE, **options}).before_send(message(content))
    assert changed
    return changed


# signatures


@pytest.mark.parametrize(
    ("selector", "key"),
    [
        ("r", RSA),
        ("r", pem(RSA_KEY, PrivateFormat.TraditionalOpenSSL)),
        ("r", RSA.replace("\n", "\r\n") + "\r\n"),
        ("e", ED),
        ("e", SEED),
    ],
    ids=["RSA", "RSA as OpenSSL had it", "RSA with CRLF", "Ed25519", "a seed"],
)
async def test_a_signature_holds_whatever_the_form_of_the_key(
    selector: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key)
    for place in ({"key": key}, {"key_file": str(tmp_path / "key")}):
        content = (await signed(keys={"A.Example": {"selector": selector, **place}})).content
        assert content.endswith(CONTENT)
        assert holds(content)
        assert not holds(content.replace(b"..\r\n", b".\r\n"))
        assert not holds(content.replace(b"fold", b"told"))


async def test_several_keys_make_several_signatures() -> None:
    content = (await signed(keys=BOTH)).content
    assert holds(content, 0)
    assert holds(content, 1)
    assert set(re.findall(rb"a=(\S+);", content)) == {b"rsa-sha256", b"ed25519-sha256"}


@pytest.mark.parametrize("name", [b"From", b"To", b"Cc", b"Subject", b"Reply-To", b"Message-ID"])
async def test_no_second_field_that_a_reader_trusts_can_be_added(name: bytes) -> None:
    content = (await signed()).content
    assert holds(b"X-New: x\r\n" + content)
    assert not holds(name + b": x@x.example\r\n" + content)


async def test_what_is_missing_may_be_added_by_a_downstream() -> None:
    content = (await signed()).content
    assert holds(b"Date: now\r\nMIME-Version: 1.0\r\n" + content)


async def test_a_field_that_the_downstream_changes_can_be_left_out() -> None:
    content = (await signed(unsigned=["Message-ID"])).content
    assert holds(content.replace(b"<1@a.example>", b"<2@b.example>"))
    assert not holds((await signed()).content.replace(b"<1@a.example>", b"<2@b.example>"))


async def test_a_domain_in_unicode_is_signed_in_ascii() -> None:
    content = "From: ü@Bücher.example\r\n\r\n".encode()
    for name in ("bücher.example", "xn--bcher-kva.example"):
        arrived = (await signed(content, keys={name: ONE["a.example"]})).content
        assert b"d=xn--bcher-kva.example;" in arrived
        assert holds(arrived)


# which messages


@pytest.mark.parametrize(
    "content",
    [
        b"From: a@b.example\r\n\r\n",
        b"From: a@sub.a.example\r\n\r\n",
        b"From: a@a.example\r\nFrom: a@a.example\r\n\r\n",
        b"From: a@a.example, b@b.example\r\n\r\n",
        b"From: =?utf-8?q?a=40a.example=2C?= <b@b.example>\r\n\r\n",
        b"From: a@a.example\r\nno field\r\n\r\n",
        b" From: a@a.example\r\n\r\n",
        b"\r\nFrom: a@a.example\r\n",
        b"From: a@..\r\n\r\n",
        b"Subject: no author\r\n\r\n",
        b"",
    ],
)
async def test_what_has_no_key_goes_unsigned_or_not_at_all(content: bytes) -> None:
    assert await Dkim(ONE).before_send(message(content)) is None
    with pytest.raises(Defer):
        await Dkim(ONE, required=True).before_send(message(content))


async def test_authors_of_two_domains_are_not_signed_for_even_with_keys_for_both() -> None:
    plugin = Dkim({**ONE, "b.example": ONE["a.example"]})
    assert await plugin.before_send(message(b"From: a@a.example, b@b.example\r\n\r\n")) is None
    assert await plugin.before_send(message(b"From: a@b.example, b@b.example\r\n\r\n"))


# the body's hash


@given(
    lines=st.lists(st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b"a", b"\r", b".", b"\xff"])),
    piece=st.integers(1, 8),
)
@example(lines=[b"a", b"\r\n", b" ", b"\r\n", b"\r\n"], piece=1)
@settings(max_examples=200, deadline=None)
def test_the_hash_of_a_body_is_dkimpys_whatever_the_pieces(lines: list[bytes], piece: int) -> None:
    body = b"".join(lines) + b"\r\n"
    whole = Relaxed.canonicalize_body(re.sub(rb"\r?\n", b"\r\n", body))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_body, "PIECE_OCTETS", piece)
        assert body_hash(b"head" + body, 4) == hashlib.sha256(whole).digest()


# the event loop


async def test_a_long_message_is_signed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def watched(content: bytes, start: int) -> bytes:
        threads.append(threading.current_thread())
        return body_hash(content, start)

    monkeypatch.setattr("smtp_router_dkim._signature.body_hash", watched)
    assert holds((await signed(CONTENT + 100_000 * b"y\r\n")).content)
    assert holds((await signed()).content)
    assert [thread is threading.main_thread() for thread in threads] == [False, True]


async def test_the_event_loop_has_its_turn_while_a_long_message_is_signed() -> None:
    task = asyncio.create_task(signed(CONTENT + 300_000 * b"some words \t of a line\r\n"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert holds((await task).content)
    assert turns > 10


# options


LOCKED = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
PUBLIC = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"keys": {}}, "keys: a mapping"),
        ({"keys": "a.example"}, "keys: a mapping"),
        ({"keys": {7: {}}}, "keys.7: is no domain"),
        ({"keys": {"a b": {}}}, "keys.a b: is no domain"),
        ({"keys": {**ONE, "A.example": ONE["a.example"]}}, "keys.A.example: is there twice"),
        ({"keys": {"a.example": "s1"}}, "keys.a.example: a mapping"),
        ({"keys": {"a.example": []}}, "keys.a.example: has no key"),
        ({"keys": {"a.example": [{"key": ED}]}}, "keys.a.example[0].selector: a name"),
        ({"keys": {"a.example": {"selector": "a;b", "key": ED}}}, "keys.a.example.selector: a name"),
        ({"keys": {"a.example": {"selector": "s"}}}, "keys.a.example: either key or key_file"),
        ({"keys": {"a.example": {"selector": "s", "kye": ED}}}, "keys.a.example: takes selector"),
        ({"keys": {"a.example": {"selector": "s", "key": 7}}}, "keys.a.example.key: the key's text"),
        (
            {"keys": {"a.example": {"selector": "s", "key": ED[:60]}}},
            "keys.a.example.key: is no private",
        ),
        (
            {"keys": {"a.example": {"selector": "s", "key": SEED[4:]}}},
            "keys.a.example.key: is no private",
        ),
        ({"keys": {"a.example": {"selector": "s", "key": PUBLIC}}}, "keys.a.example.key: is no private"),
        (
            {"keys": {"a.example": {"selector": "s", "key": LOCKED}}},
            "keys.a.example.key: has a passphrase",
        ),
        (
            {"keys": {"a.example": {"selector": "s", "key_file": "k"}}},
            "keys.a.example.key_file: an absol",
        ),
        (
            {"keys": {"a.example": {"selector": "s", "key_file": "/n/o"}}},
            "keys.a.example.key_file: cannot",
        ),
        (
            {"keys": {"a.example": {"selector": "s", "key_file": "/\0"}}},
            "keys.a.example.key_file: cannot",
        ),
        (
            {"keys": {"a.example": {"selector": "s", "key_file": "/dev/zero"}}},
            "keys.a.example.key_file: is",
        ),
        ({"required": "no"}, "required: true or false"),
        ({"unsigned": "date"}, "unsigned: a list"),
        ({"unsigned": ["da te"]}, "unsigned: 'da te' is no header field name"),
        ({"unsigned": ["From"]}, "unsigned: From is signed always"),
        ({"unsigned": ["X-Id"]}, "unsigned: x-id is not signed anyway"),
    ],
)
def test_options_that_are_wrong_are_named_and_no_key_is_shown(
    options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is looked at
        Dkim(**{"keys": ONE, **options})
    assert str(raised.value).startswith(error)
    assert not any(line in str(raised.value) for text in (ED, RSA, SEED) for line in text.split("\n"))
    assert raised.value.__cause__ is None


def test_a_key_of_rsa_that_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtp_router_dkim._keys._MIN_RSA_BITS", 1025)
    with pytest.raises(ValueError, match=r"^keys\.a\.example\.key: has 1024 bits"):
        Dkim({"a.example": {"selector": "s", "key": RSA}})


def test_no_key_is_in_a_repr() -> None:
    plugin = Dkim(BOTH)
    shown = repr(plugin) + repr(vars(plugin))
    seed = nacl.signing.SigningKey(base64.b64decode(SEED)).encode()
    assert "a.example" in shown
    assert repr(seed) not in shown
    assert str(RSA_KEY.private_numbers().d) not in shown
