"""The plugins rewrite and dkim in a router: what a downstream gets verifies."""

import base64
import smtplib
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from smtp_router.testing import ScriptedDownstream
from tests.running import PASSWORD, USER, Router, config, user

RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - quick
ED = ed25519.Ed25519PrivateKey.generate()
CONTENT = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <author@other.example>\r\nTo: b@b.example\r\nX-Internal: 1\r\n"
    b"Subject: odd\t\r\n  fold\r\n\r\ngr\xfc\xdfe \t \r\n.\r\n..\r\n\r\n"
)


def holds(content: bytes, index: int) -> bool:
    """Whether a signature verifies, by the public keys as DNS would have them."""
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    records = {
        b"r._domainkey.a.example.": b"v=DKIM1; k=rsa; p=" + base64.b64encode(der),
        b"e._domainkey.a.example.": b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw),
    }
    return bool(dkim.DKIM(content).verify(index, dnsfunc=lambda name, **_: records[name]))


@pytest.mark.parametrize("lines", [1, 20_000])
def test_signatures_on_a_rewritten_message_hold_at_the_downstream(tmp_path: Path, lines: int) -> None:
    pems = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in (RSA, ED)]
    for name, pem in zip("re", pems, strict=True):
        (tmp_path / f"{name}.pem").write_bytes(pem)
    keys = [{"selector": name, "key": f"${{file:./{name}.pem}}"} for name in "re"]
    rules = {"from": "news@a.example", "headers": {"remove": ["X-Internal"]}}
    plugins = [
        {"use": "rewrite", "options": {"downstreams": {"one": rules}}},
        {"use": "dkim", "options": {"keys": {"a.example": keys}, "required": True}},
    ]
    with ScriptedDownstream() as downstream:
        entry = {"addr": downstream.addr, "name": "one"}
        with (
            Router(config(user(entry, plugins=plugins)), tmp_path) as router,
            smtplib.SMTP("127.0.0.1", router.port) as client,
        ):
            client.login(USER, PASSWORD)
            sent = CONTENT + lines * b".. a \t line\r\n"
            client.sendmail("a@a.example", ["b@b.example"], sent, ["BODY=8BITMIME"])
        logged = repr(router.log.entries)
    (taken,) = downstream.delivered
    assert taken.content.startswith(b"Received: ")
    assert taken.content.endswith(
        b"From: =?utf-8?q?J=C3=BCrgen?= <news@a.example>\r\n"
        b"Reply-To: =?utf-8?q?J=C3=BCrgen?= <author@other.example>\r\n"
        + sent.partition(b"\r\n")[2].replace(b"X-Internal: 1\r\n", b"")
    )
    for index in range(2):
        assert holds(taken.content, index)
        assert not holds(taken.content.replace(b"author@", b"other@"), index)
    assert not any(pem.decode().split("\n")[1] in logged for pem in pems)


def test_a_message_that_has_to_be_signed_and_cannot_be_is_deferred(tmp_path: Path) -> None:
    key = base64.b64encode(ED.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
    options = {"keys": {"a.example": {"selector": "e", "key": key}}, "required": True}
    with ScriptedDownstream() as downstream:
        entry = {"addr": downstream.addr, "name": "one"}
        with (
            Router(
                config(user(entry, plugins=[{"use": "dkim", "options": options}])), tmp_path
            ) as router,
            smtplib.SMTP("127.0.0.1", router.port) as client,
        ):
            client.login(USER, PASSWORD)
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("a@a.example", ["b@b.example"], CONTENT)
    assert refused.value.smtp_code == 451
    assert not downstream.messages
