import pytest

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Rejected, Reply, Stage
from smtp_router.core.outcome import OutcomeKind
from tests.support import make_reply


def test_the_stages_are_those_of_smtp_in_their_order() -> None:
    assert list(Stage) == ["connect", "tls", "ehlo", "auth", "mail", "rcpt", "data", "final"]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Delivered(), OutcomeKind.DELIVERED),
        (Deferred(stage=Stage.MAIL), OutcomeKind.DEFERRED),
        (Rejected(stage=Stage.MAIL), OutcomeKind.REJECTED),
        (InDoubt(), OutcomeKind.IN_DOUBT),
    ],
    ids=str,
)
def test_each_outcome_knows_its_word(outcome: Outcome, kind: OutcomeKind) -> None:
    assert outcome.kind is kind


@pytest.mark.parametrize("outcome", [Delivered(), InDoubt()], ids=str)
def test_delivered_and_in_doubt_are_known_after_the_final_dot_only(outcome: Outcome) -> None:
    assert outcome.stage is Stage.FINAL


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Delivered(), "delivered at final"),
        (Delivered(reply=Reply(code=250, text="ok")), "delivered at final: 250 ok"),
        (Deferred(stage=Stage.CONNECT, reason="refused"), "deferred at connect: refused"),
        (
            Rejected(stage=Stage.RCPT, reply=make_reply("550 5.1.1 no"), reason="rcpt"),
            "rejected at rcpt: 550 5.1.1 no",
        ),
        (InDoubt(reason="lost"), "in_doubt at final: lost"),
    ],
)
def test_an_outcome_prints_as_one_line(outcome: Outcome, text: str) -> None:
    assert str(outcome) == text


def test_an_outcome_is_told_apart_from_another_of_the_same_fields() -> None:
    same: list[Outcome] = [Deferred(stage=Stage.MAIL), Deferred(stage=Stage.MAIL)]
    other: Outcome = Rejected(stage=Stage.MAIL)
    assert same[0] == same[1]
    assert other not in same
