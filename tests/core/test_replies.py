"""What rules make of a refusal, and what they cannot make of it."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Deferred, Rejected, Stage
from smtp_router.core.decision import answer
from smtp_router.core.hints import MAX_REST_S
from smtp_router.core.outcome import SESSION_STAGES
from smtp_router.core.replies import AUTH_REST_S, QUOTA_REST_S, ReplyClass, Rule, judge, line_of
from tests.support import deferred, make_reply, rejected

BUSY = "450 4.2.1 busy"
NO = "550 5.7.1 no"
WAIT = "450 4.7.1 too fast, try again in 90 seconds"


@dataclass(frozen=True)
class Fits:
    """The standard library's expressions serve for tests."""

    pattern: str = ""

    def matches(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None


def rule(reply_class: str, pattern: str = "", **more: object) -> Rule:
    fields = {"name": "r", "pattern": Fits(pattern), "reply_class": ReplyClass(reply_class), **more}
    return Rule(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("refusal", [deferred(BUSY), rejected(NO)], ids=str)
def test_without_a_rule_that_fits_the_code_decides(refusal: Deferred | Rejected) -> None:
    assert judge(refusal) == refusal
    assert judge(refusal, [rule("quota", "nothing like it")]) == refusal
    assert judge(refusal, [rule("quota", stages=frozenset({Stage.AUTH}))]) == refusal


def test_the_first_rule_that_fits_counts() -> None:
    rules = [rule("auth", "never"), rule("deferred", "5.7.1", name="mine"), rule("quota")]
    outcome = judge(rejected(NO), rules)
    assert outcome == Deferred(
        stage=Stage.RCPT, reply=make_reply(NO), reason="deferred by mine", rest_s=0, neutral=False
    )


def test_a_rule_sees_the_code_the_enhanced_code_and_the_text_as_the_log_shows_them() -> None:
    assert isinstance(judge(rejected(NO), [rule("deferred", r"^550 5\.7\.1 no$")]), Deferred)


@pytest.mark.parametrize(
    ("reply_class", "rest_s", "neutral"),
    [("deferred", 0, False), ("quota", QUOTA_REST_S, True), ("auth", AUTH_REST_S, False)],
)
@pytest.mark.parametrize("refusal", [deferred(BUSY), rejected(NO)], ids=str)
def test_three_classes_are_transient(
    refusal: Deferred | Rejected, reply_class: str, rest_s: float, *, neutral: bool
) -> None:
    outcome = judge(refusal, [rule(reply_class)])
    assert outcome == Deferred(
        stage=Stage.RCPT,
        reply=refusal.reply,
        reason=f"{reply_class} by r",
        rest_s=rest_s,
        neutral=neutral,
    )
    assert answer(outcome).is_transient


def test_a_refusal_for_good_is_told_as_one() -> None:
    outcome = judge(deferred("450 4.7.1 <a> is a spammer"), [rule("rejected")])
    assert outcome == Rejected(
        stage=Stage.RCPT, reply=make_reply("554 5.7.1 <a> is a spammer"), reason="rejected by r"
    )
    assert judge(deferred("450 no"), [rule("rejected")]).reply == make_reply("554 no")
    assert judge(rejected(NO), [rule("rejected")]).reply == make_reply(NO)


@pytest.mark.parametrize("stage", sorted(SESSION_STAGES))
def test_before_mail_nothing_is_rejected(stage: Stage) -> None:
    outcome = judge(deferred("535 5.7.8 no", stage), [rule("rejected")])
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.rest_s, outcome.neutral) == (stage, 0, False)


def test_what_is_ignored_is_what_the_code_says_and_no_sign_of_ill_health() -> None:
    outcome = judge(deferred(WAIT, Stage.CONNECT), [rule("ignore")])
    assert outcome == Deferred(
        stage=Stage.CONNECT, reply=make_reply(WAIT), reason="ignore by r", neutral=True
    )
    outcome = judge(rejected(NO), [rule("ignore")])
    assert outcome == Rejected(stage=Stage.RCPT, reply=make_reply(NO), reason="ignore by r")


@pytest.mark.parametrize("stage", Stage)
def test_a_hint_without_a_rule_counts_before_rcpt_only(stage: Stage) -> None:
    """Later a 4yz may be about one recipient: greylisting must not rest the downstream."""
    outcome = judge(deferred(WAIT, stage))
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == (90 if stage in SESSION_STAGES | {Stage.MAIL} else 0)
    assert outcome.reason == ""


@pytest.mark.parametrize(
    ("order", "rest_s"),
    [
        (rule("quota"), 90),
        (rule("quota", rest_s=5.0), 90),
        (rule("auth", rest_s=5.0), 90),
        (rule("deferred", rest_s=5.0), 90),
        (rule("deferred"), 0),
        (rule("ignore"), 0),
    ],
    ids=lambda value: f"{value.reply_class}-{value.rest_s}" if isinstance(value, Rule) else None,
)
def test_the_replys_own_time_comes_before_the_rules(order: Rule, rest_s: float) -> None:
    outcome = judge(deferred(WAIT, Stage.FINAL), [order])
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == rest_s


@pytest.mark.parametrize("reply_class", ["deferred", "quota", "auth"])
def test_a_rules_own_time_counts_where_the_reply_says_none(reply_class: str) -> None:
    outcome = judge(rejected(NO, Stage.FINAL), [rule(reply_class, rest_s=7.0)])
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == 7


def test_what_had_no_reply_is_left_as_it_is() -> None:
    lost = deferred(None, Stage.CONNECT)
    assert judge(lost, [rule("ignore")]) == lost


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ("450 4.2.1 busy", "450 4.2.1 busy"),
        ("550 5.1.1 <a@b.example>: no such user", "550 5.1.1 @ no such user"),
        ("550 <daily-limit-exceeded@b.example> unknown", "550 @ unknown"),
        ('450 <"try again in 9 days"@b.example> unknown', "450 @ unknown"),
        ('450 "x <"try again in 9 days"@b.example> unknown', '450 "x @ unknown'),
        ("550 a@b and c@d", "550 @ and @"),
    ],
)
def test_whoever_names_a_recipient_writes_no_reply(reply: str, line: str) -> None:
    assert line_of(make_reply(reply)) == line


def test_a_hint_in_an_address_is_none() -> None:
    outcome = judge(deferred('450 <"retry-after: 9000 "@b.example>: busy', Stage.MAIL))
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == 0


REFUSALS = st.builds(
    lambda code, text, stage: (
        rejected(f"{code} {text}", stage)
        if code >= 500 and stage not in SESSION_STAGES
        else deferred(f"{code} {text}", stage)
    ),
    st.integers(400, 599),
    st.text() | st.just("try again in 5 min"),
    st.sampled_from(Stage),
)
RULES = st.lists(
    st.builds(
        Rule,
        name=st.just("r"),
        pattern=st.sampled_from(["", "^4", "^5", "a", "^250"]).map(Fits),
        reply_class=st.sampled_from(ReplyClass),
        stages=st.frozensets(st.sampled_from(Stage)),
        rest_s=st.none() | st.floats(1, MAX_REST_S),
    )
)


@given(REFUSALS, RULES)
def test_whatever_the_rules_a_refusal_stays_one(refusal: Deferred | Rejected, rules: list[Rule]) -> None:
    """No rule makes a delivery, a rejection that a client would try again, or one before MAIL."""
    outcome = judge(refusal, rules)
    assert outcome.stage is refusal.stage
    assert outcome.reply is not None
    match outcome:
        case Rejected():
            assert outcome.reply.is_permanent
            assert outcome.stage not in SESSION_STAGES
            assert answer(outcome).is_permanent
        case Deferred():
            assert outcome.reply == refusal.reply
            assert 0 <= outcome.rest_s <= MAX_REST_S
            assert answer(outcome).is_transient
