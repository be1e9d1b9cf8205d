"""The router's own certificates, for downstreams that ask for one."""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from smtp_router import Deferred, Delivered
from smtp_router.config.load import parse
from smtp_router.smtp.certificate import certificate_problems
from tests.certificates import write_certificate
from tests.running import one_user
from tests.smtp.sending import ONCE, Sending
from tests.witness import Witness

ALICE, BOB = "alice.example", "bob.example"


@pytest.fixture
def asking(ca: trustme.CA) -> ssl.SSLContext:
    """A server's context that takes nobody without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture(params=[False, True], ids=["starttls", "implicit"])
def witness(request: pytest.FixtureRequest, asking: ssl.SSLContext) -> Iterator[Witness]:
    with Witness(tls=asking, implicit_tls=request.param) as witness:
        yield witness


@pytest.fixture
def cert(ca: trustme.CA, tmp_path: Path) -> Path:
    return write_certificate(ca, tmp_path / "client.pem", ALICE)


async def test_a_server_that_asks_is_shown_the_certificate(
    sending: Sending, witness: Witness, cert: Path
) -> None:
    assert isinstance(await sending.to(witness, more={"tls_client_cert": str(cert)}), Delivered)
    assert witness.peers == [ALICE]


async def test_one_that_asks_and_gets_none_gets_no_mail(sending: Sending, witness: Witness) -> None:
    assert isinstance(await sending.to(witness), Deferred)
    assert not witness.deliveries


async def test_the_key_may_be_in_a_file_of_its_own(
    sending: Sending, witness: Witness, ca: trustme.CA, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = ca.issue_cert(BOB)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    more = {"tls_client_cert": str(cert), "tls_client_key": str(key)}
    assert isinstance(await sending.to(witness, more=more), Delivered)
    assert witness.peers == [BOB]


async def test_a_changed_certificate_counts_for_new_connections_and_resumes_no_old_session(
    sending: Sending, witness: Witness, ca: trustme.CA, cert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that is resumed is resumed as who the router was when it began."""
    caplog.set_level(logging.INFO)
    more = {"tls_client_cert": str(cert), **ONCE}
    for _ in range(2):
        assert isinstance(await sending.to(witness, more=more), Delivered)
    write_certificate(ca, cert, BOB)
    sending.sender.refresh()
    assert isinstance(await sending.to(witness, more=more), Delivered)
    assert witness.peers == [ALICE, ALICE, BOB]
    assert witness.resumed == [False, True, False]
    assert "certificate reloaded" in caplog.messages


async def test_one_that_cannot_be_used_leaves_the_old_one_at_work(
    sending: Sending, witness: Witness, cert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"tls_client_cert": str(cert), **ONCE}
    assert isinstance(await sending.to(witness, more=more), Delivered)
    await asyncio.to_thread(cert.write_text, "no certificate")
    for _ in range(3):
        sending.sender.refresh()
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert set(witness.peers) == {ALICE}
    assert caplog.messages == ["certificate not reloaded, the old one stays"]


async def test_another_certificate_is_another_connection(
    sending: Sending, witness: Witness, ca: trustme.CA, cert: Path, tmp_path: Path
) -> None:
    other = write_certificate(ca, tmp_path / "other.pem", BOB)
    for path in (cert, other, cert, other):
        assert isinstance(await sending.to(witness, more={"tls_client_cert": str(path)}), Delivered)
    assert witness.peers == [ALICE, BOB]
    assert [one.connection for one in witness.deliveries] == [1, 2, 1, 2]


async def test_after_a_reload_a_certificate_that_nobody_shows_is_not_looked_at(
    sending: Sending, witness: Witness, cert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(await sending.to(witness, more={"tls_client_cert": str(cert)}), Delivered)
    await sending.sender.retain(sending.settings(witness))
    await asyncio.to_thread(cert.unlink)
    sending.sender.refresh()
    assert not caplog.messages


def problems(**entry: object) -> list[str]:
    """What is said of certificates in a configuration with this in its only downstream's entry."""
    configuration = one_user({"addr": "a.example:587", **entry})
    loaded = parse(json.dumps(configuration).encode(), Path("config.yaml"))
    return [str(problem) for problem in certificate_problems(loaded)]


def test_a_certificate_that_cannot_be_used_is_a_problem_of_its_key(
    ca: trustme.CA, cert: Path, tmp_path: Path
) -> None:
    """Nobody is asked for a passphrase."""
    other, locked = write_certificate(ca, tmp_path / "other.pem"), tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    assert problems(tls_client_cert=str(cert)) == []
    where = "config.yaml:1: users[0].downstreams[0].tls_client_cert: cannot be used with its key: "
    for wrong in (other, locked):
        (said,) = problems(tls_client_cert=str(cert), tls_client_key=str(wrong))
        assert said.startswith(where)
