"""Whose fault an outcome is."""

import pytest

from smtp_router import Deferred, Outcome, Stage
from smtp_router.core.blame import Blame, blame
from smtp_router.smtp.verdict import LOGIN_CODES, verdict
from tests.support import deferred, delivered, in_doubt, make_reply, rejected

SESSION = (Stage.CONNECT, Stage.TLS, Stage.EHLO)
TRANSACTION = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL)


def said(stage: Stage, line: str) -> Outcome:
    """The outcome of what a downstream says, as the wire reads it."""
    reply = make_reply(line)
    outcome = verdict(stage, reply.code, f"{reply.enhanced} {reply.text}".strip())
    assert outcome is not None
    return outcome


def test_a_delivery_speaks_against_nobody() -> None:
    assert blame(delivered()) is Blame.NOBODY


@pytest.mark.parametrize("stage", TRANSACTION)
@pytest.mark.parametrize("line", ["550 5.1.1 no such user", "552 5.3.4 too big", "554 spam"])
def test_a_refusal_for_good_is_the_messages_own(stage: Stage, line: str) -> None:
    assert blame(said(stage, line)) is Blame.MESSAGE


def test_what_one_message_needs_is_its_own() -> None:
    lacking = Deferred(stage=Stage.MAIL, reply=make_reply("550 5.6.3 8BITMIME"), incapable=True)
    assert blame(lacking) is Blame.MESSAGE


@pytest.mark.parametrize("stage", SESSION)
@pytest.mark.parametrize("line", ["421 4.3.2 going down", "450 busy", "554 5.7.1 no", None])
def test_whoever_cannot_be_reached_is_a_server_that_is_down(stage: Stage, line: str | None) -> None:
    outcome = said(stage, line) if line else deferred(None, stage)
    assert blame(outcome) is Blame.SERVER


@pytest.mark.parametrize("line", ["535 5.7.8 wrong", "454 4.7.0 later", "421 4.7.0 too often", None])
def test_a_failed_login_is_the_accounts(line: str | None) -> None:
    outcome = said(Stage.AUTH, line) if line else deferred(None, Stage.AUTH)
    assert blame(outcome) is Blame.ACCOUNT


@pytest.mark.parametrize("stage", TRANSACTION)
@pytest.mark.parametrize("code", LOGIN_CODES)
def test_a_login_that_is_asked_for_later_is_the_accounts_too(stage: Stage, code: int) -> None:
    assert blame(said(stage, f"{code} 5.7.0 log in first")) is Blame.ACCOUNT


@pytest.mark.parametrize("stage", TRANSACTION)
@pytest.mark.parametrize(
    "line",
    [
        "450 4.2.0 greylisted",
        "451 greylisted",
        "452 4.2.2 mailbox full",
        "452 4.3.4 too big",
        "451 4.7.1 x",
    ],
)
def test_a_transient_refusal_in_a_transaction_is_the_messages_own(stage: Stage, line: str) -> None:
    assert blame(said(stage, line)) is Blame.MESSAGE


@pytest.mark.parametrize("stage", TRANSACTION)
@pytest.mark.parametrize(
    "line",
    [
        "421 4.7.0 bye",
        "421 bye",
        "451 4.3.0 queue file",
        "452 4.3.1 full",
        "450 4.3.2 off",
        "451 4.3.5 x",
    ],
)
def test_unless_it_is_said_to_be_the_systems(stage: Stage, line: str) -> None:
    assert blame(said(stage, line)) is Blame.ACCOUNT


@pytest.mark.parametrize("stage", TRANSACTION)
def test_or_asks_for_a_rest(stage: Stage) -> None:
    busy = Deferred(stage=stage, reply=make_reply("450 4.2.1 try again in 300 seconds"), rest_s=300)
    assert blame(busy) is Blame.ACCOUNT


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("line", ["421 4.7.0 x", "450 4.2.1 x", "554 5.7.1 x"])
def test_what_a_rule_calls_neutral_speaks_against_no_downstream(stage: Stage, line: str) -> None:
    neutral = Deferred(stage=stage, reply=make_reply(line), rest_s=300, neutral=True)
    assert blame(neutral) is Blame.MESSAGE


@pytest.mark.parametrize("stage", TRANSACTION)
def test_a_connection_lost_in_a_transaction_is_the_accounts(stage: Stage) -> None:
    assert blame(deferred(None, stage)) is Blame.ACCOUNT
    assert blame(in_doubt()) is Blame.ACCOUNT


def test_a_rejection_without_a_reply_is_the_messages_own() -> None:
    assert blame(rejected(None)) is Blame.MESSAGE
