"""Downstreams that speak LMTP, on Unix sockets and TCP, and where the router connects from."""

import itertools
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Rejected, Stage
from smtp_router.core.outcome import Outcome
from tests.script import DROP, Then
from tests.smtp.sending import LOGIN, Sending
from tests.support import make_message
from tests.witness import Witness

LMTP = {"protocol": "lmtp"}
A, B, C = RECIPIENTS = ("a@b.example", "b@b.example", "c@b.example")
THREE = make_message(rcpt_tos=RECIPIENTS)


@pytest.fixture
def path() -> Iterator[Path]:
    """Of a socket; short, since the system allows some 100 octets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "s")


async def test_a_message_goes_over_a_unix_socket(sending: Sending, path: Path) -> None:
    with Witness(path=path) as witness:
        outcome = await sending.to(witness)
    assert isinstance(outcome, Delivered)
    assert len(witness.deliveries) == 1


async def test_a_login_is_told_over_a_unix_socket_without_tls(sending: Sending, path: Path) -> None:
    with Witness(path=path, auth=LOGIN) as witness:
        more = {"tls": "auto", "user": LOGIN[0], "pass": LOGIN[1]}
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert witness.deliveries[0].login == LOGIN[0].encode()


async def test_nobody_at_a_unix_socket_is_a_deferral(sending: Sending, path: Path) -> None:
    outcome = await sending.to(Witness(path=path))
    assert isinstance(outcome, Deferred)
    assert outcome.stage is Stage.CONNECT


@pytest.mark.parametrize("is_unix", [True, False], ids=["unix", "tcp"])
async def test_lmtp_says_lhlo_and_has_a_reply_for_each_recipient(
    sending: Sending, path: Path, *, is_unix: bool
) -> None:
    with Witness(lmtp=True, path=path if is_unix else None) as witness:
        for _ in range(2):
            assert isinstance(await sending.to(witness, THREE, more=LMTP), Delivered)
        assert witness.connections == 1  # kept, and in step
        assert [each.rcpt_tos[0].decode() for each in witness.deliveries] == 2 * list(RECIPIENTS)
        assert not any(line.startswith((b"EHLO", b"HELO")) for line in witness.commands)


async def test_lmtp_has_no_helo(sending: Sending) -> None:
    with Witness({"ehlo": b"500 5.5.1 what"}, lmtp=True) as witness:
        outcome = await sending.to(witness, more=LMTP)
    assert isinstance(outcome, Deferred)
    assert outcome.stage is Stage.EHLO
    assert not any(line.startswith(b"HELO") for line in witness.commands)


async def test_a_server_that_speaks_smtp_gets_no_mail_by_lmtp(sending: Sending) -> None:
    with Witness() as witness:
        outcome = await sending.to(witness, more=LMTP)
    assert isinstance(outcome, Deferred)
    assert not witness.deliveries


async def test_lmtp_goes_on_under_tls(sending: Sending, server_tls: ssl.SSLContext) -> None:
    with Witness(lmtp=True, tls=server_tls) as witness:
        assert isinstance(await sending.to(witness, more=LMTP), Delivered)
    assert witness.deliveries[0].tls


YES, LATER, NEVER = b"250 2.0.0 yes", b"452 4.2.2 full", b"550 5.1.1 nobody"


@pytest.mark.parametrize("finals", [*itertools.product((YES, LATER, NEVER), repeat=3)])
async def test_what_becomes_of_all_together_is_what_harms_least(
    sending: Sending, finals: tuple[bytes, ...]
) -> None:
    script = {f"final:{recipient}": reply for recipient, reply in zip(RECIPIENTS, finals, strict=True)}
    with Witness(script, lmtp=True) as witness:
        outcome = await sending.to(witness, THREE, more=LMTP)
        again = await sending.to(witness, THREE, more=LMTP)
        assert witness.connections == 1
    assert again == outcome
    assert type(outcome) is _expected(finals)
    if isinstance(outcome, Rejected | Deferred):
        assert outcome.reply is not None
        worst = NEVER if NEVER in finals else LATER
        assert outcome.reply.text.startswith(f"<{RECIPIENTS[finals.index(worst)]}>: ")
        assert outcome.reply.code == int(worst[:3])


def _expected(finals: tuple[bytes, ...]) -> type[Outcome]:
    """Nothing is sent again that somebody has, and nothing is lost that somebody may still get."""
    if set(finals) == {YES}:
        return Delivered
    if YES in finals and LATER in finals:
        return InDoubt
    return Rejected if NEVER in finals else Deferred


@pytest.mark.parametrize("first", [YES, LATER, NEVER])
@pytest.mark.parametrize("end", [DROP, Then(b"421 4.3.2 bye"), b"999 what"], ids=["lost", "421", "?"])
async def test_a_recipient_without_a_reply_leaves_all_in_doubt(
    sending: Sending, first: bytes, end: Then
) -> None:
    with Witness({f"final:{A}": first, f"final:{B}": end}, lmtp=True) as witness:
        outcome = await sending.to(witness, THREE, more=LMTP)
    assert isinstance(outcome, InDoubt)


async def test_a_recipient_refused_beforehand_refuses_all(sending: Sending) -> None:
    with Witness({f"rcpt:{B}": NEVER}, lmtp=True) as witness:
        outcome = await sending.to(witness, THREE, more=LMTP)
    assert isinstance(outcome, Rejected)
    assert outcome.stage is Stage.RCPT
    assert not witness.deliveries


async def test_it_connects_from_the_address_it_is_told(sending: Sending) -> None:
    addresses = ["127.0.0.1", "127.0.0.2"] if sys.platform == "linux" else ["127.0.0.1"]
    with Witness() as witness:
        for address in addresses:  # each has connections of its own
            assert isinstance(await sending.to(witness, more={"source_address": address}), Delivered)
        assert witness.sources == addresses


async def test_an_address_that_is_not_here_is_a_deferral(sending: Sending) -> None:
    with Witness() as witness:
        for address in ("192.0.2.1", "::1"):
            outcome = await sending.to(witness, more={"source_address": address})
            assert isinstance(outcome, Deferred)
            assert outcome.stage is Stage.CONNECT
