"""What a downstream's words do to a message's way: rules and providers, over real connections."""

from pathlib import Path

import pytest

from smtp_router.core.replies import ReplyClass
from tests.running import Router, downstream, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
LOGIN = ("router", "s3cret-word")
BEFORE_MAIL = ("banner", "ehlo", "auth")
STAGES = (*BEFORE_MAIL, "mail", "rcpt", "data", "final")


def goes_on(reply_class: ReplyClass, where: str) -> bool:
    """Whether the next downstream is tried after a 5yz that a rule takes for this."""
    match reply_class:
        case ReplyClass.REJECTED | ReplyClass.IGNORE:
            return where in BEFORE_MAIL
        case _:
            return True


@pytest.mark.parametrize("where", STAGES)
@pytest.mark.parametrize("reply_class", ReplyClass)
def test_a_5yz_is_what_the_rule_says_and_no_message_is_there_twice(
    where: str, reply_class: ReplyClass, tmp_path: Path
) -> None:
    rules = [{"match": "^554 .*used up", "class": reply_class}]
    with (
        Witness({where: b"554 5.7.9 Account used up"}, auth=LOGIN) as a,
        Witness(name="b") as b,
        Router(one_user(downstream(a, replies=rules), b), tmp_path) as router,
        router.client() as c,
    ):
        reply = c.transaction(A, [B], HELLO)
    on = goes_on(reply_class, where)
    assert (reply.code, reply.enhanced) == ((250, "2.0.0") if on else (554, "5.7.9"))
    assert (len(a.deliveries), len(b.deliveries)) == (0, on)
    first = router.log.find("attempt")[0]
    assert first["reason"] == f"{reply_class} by replies[0]"
    assert first["code"] == 554


@pytest.mark.parametrize("where", STAGES[3:])
def test_a_4yz_that_is_rejected_is_told_as_a_5yz_and_not_carried_on(where: str, tmp_path: Path) -> None:
    rules = [{"match": "^450 ", "class": "rejected"}]
    with (
        Witness({where: b"450 4.7.1 never"}) as a,
        Witness(name="b") as b,
        Router(one_user(downstream(a, replies=rules), b), tmp_path) as router,
        router.client() as c,
    ):
        reply = c.transaction(A, [B], HELLO)
    assert (reply.code, reply.enhanced) == (554, "5.7.1")
    assert not a.deliveries
    assert not b.connections


@pytest.mark.parametrize("reply_class", ReplyClass)
def test_no_rule_undoes_a_delivery(reply_class: ReplyClass, tmp_path: Path) -> None:
    rules = [{"match": ".", "class": reply_class}]
    with (
        Witness({"final": b"250 2.0.0 quota exceeded, try again in 300 seconds"}) as a,
        Witness(name="b") as b,
        Router(one_user(downstream(a, replies=rules), b), tmp_path) as router,
        router.client() as c,
    ):
        assert c.transaction(A, [B], HELLO).code == 250
    assert (len(a.deliveries), len(b.deliveries)) == (1, 0)


def test_a_rule_holds_for_its_own_downstream_only(tmp_path: Path) -> None:
    rules = [{"match": "^554", "class": "deferred"}]
    with (
        Witness({"final": b"554 5.7.9 no"}) as a,
        Witness({"final": b"554 5.7.9 no"}, name="b") as b,
        Router(one_user(downstream(a, replies=rules), b), tmp_path) as router,
        router.client() as c,
    ):
        assert c.transaction(A, [B], HELLO).code == 554
    assert [entry["outcome"] for entry in router.log.find("attempt")] == ["deferred", "rejected"]


def test_a_providers_quota_overflows_to_the_next(tmp_path: Path) -> None:
    used_up = b"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; too much"
    with (
        Witness({"final": used_up}) as a,
        Witness(name="b") as b,
        Router(one_user(downstream(a, provider="office365"), b), tmp_path) as router,
        router.client() as c,
    ):
        assert c.transaction(A, [B], HELLO).code == 250
    assert (len(a.deliveries), len(b.deliveries)) == (0, 1)
    assert router.log.find("attempt")[0]["reason"].startswith("quota by office365: ")
