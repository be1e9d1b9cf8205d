"""The table of the design's section 4, line by line."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import (
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    Rejected,
    Reply,
    Stage,
)
from smtp_router.core.decision import (
    ACCEPTED,
    CLOCK_TOLERANCE_S,
    IN_DOUBT,
    OUR_FAULT,
    SESSION_REPLIES,
    TOO_LATE,
    UNREACHABLE,
    USED_UP,
    Limits,
    answer,
    end_of_attempt,
    give_up,
    next_step,
    without_room,
)
from smtp_router.core.outcome import OutcomeKind
from tests.support import (
    deferred,
    delivered,
    in_doubt,
    make_attempt,
    make_reply,
    rejected,
    unreachable,
)

DEADLINE = 100.0
WIDENED = frozenset({OutcomeKind.DEFERRED, OutcomeKind.REJECTED, OutcomeKind.IN_DOUBT})


def step(
    outcomes: Sequence[Outcome],
    *,
    downstreams: int = 3,
    now: float = 0.0,
    failover_on: frozenset[OutcomeKind] = frozenset({OutcomeKind.DEFERRED}),
) -> Reply | None:
    """What follows after these outcomes, one downstream each."""
    limits = Limits(deadline=DEADLINE, downstreams=downstreams, failover_on=failover_on)
    attempts = [make_attempt(f"d{index}", outcome) for index, outcome in enumerate(outcomes)]
    return next_step(attempts, now, limits)


def reply(
    outcomes: Sequence[Outcome],
    *,
    downstreams: int = 3,
    now: float = 0.0,
    failover_on: frozenset[OutcomeKind] = frozenset({OutcomeKind.DEFERRED}),
) -> Reply:
    """The last word after these outcomes."""
    decided = step(outcomes, downstreams=downstreams, now=now, failover_on=failover_on)
    assert decided is not None
    return decided


# One attempt, and others left: which outcome ends it.

MESSAGE_STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL)


def test_the_first_downstream_is_tried() -> None:
    assert step([]) is None


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("line", [None, "450 4.2.1 busy", "421 4.3.2 closing"])
def test_after_deferred_the_next_is_tried_at_every_stage(stage: Stage, line: str | None) -> None:
    assert step([deferred(line, stage)]) is None


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.TLS, Stage.EHLO, Stage.AUTH])
def test_5yz_about_the_session_is_not_about_the_message(stage: Stage) -> None:
    refused = deferred("554 5.7.1 go away", stage)
    assert step([refused]) is None
    assert reply([refused], downstreams=1) == SESSION_REPLIES[stage]
    assert reply([refused], downstreams=1).is_transient


@pytest.mark.parametrize("stage", MESSAGE_STAGES)
def test_a_permanent_reply_is_not_tried_elsewhere(stage: Stage) -> None:
    assert reply([rejected("550 5.1.1 no such user", stage)]) == make_reply("550 5.1.1 no such user")


def test_in_doubt_is_not_tried_elsewhere() -> None:
    assert reply([in_doubt()]) == IN_DOUBT


def test_in_doubt_counts_as_delivered_only_if_somebody_has_said_so() -> None:
    limits = Limits(deadline=100, downstreams=3, accepts_in_doubt=True)
    attempts = [make_attempt("a", deferred()), make_attempt("b", in_doubt())]
    assert next_step(attempts, 0, limits) == ACCEPTED
    for outcome in (deferred(), rejected(), unreachable()):
        assert next_step([make_attempt(outcome=outcome)], 0, limits) == next_step(
            [make_attempt(outcome=outcome)], 0, Limits(deadline=100, downstreams=3)
        )


def test_a_delivery_ends_it() -> None:
    assert reply([delivered("250 2.6.0 <x@y> queued as 5")]) == make_reply("250 2.0.0 Delivered")


# What the client hears when this outcome is the last word.

ANSWERS: list[tuple[str, Outcome, str]] = [
    ("delivered", Delivered(), "250 2.0.0 Delivered"),
    ("in doubt", InDoubt(), "451 4.4.2 A downstream did not confirm the message"),
    ("unreachable", unreachable(), "451 4.4.1 No downstream took the message"),
    (
        "bad banner",
        deferred("554 5.3.2 not today", Stage.CONNECT),
        "451 4.4.1 No downstream took the message",
    ),
    (
        "no TLS",
        deferred("454 4.7.0 no", Stage.TLS),
        "451 4.7.5 A downstream could not be reached safely",
    ),
    ("EHLO", deferred("550 5.7.1 no", Stage.EHLO), "451 4.4.1 A downstream refused the session"),
    (
        "login",
        deferred("535 5.7.8 wrong password for apikey", Stage.AUTH),
        "451 4.7.0 A downstream refused the router's login",
    ),
    *(
        (f"4yz at {stage}", deferred("450 4.2.1 busy", stage), "450 4.2.1 busy")
        for stage in MESSAGE_STAGES
    ),
    *(
        (f"lost at {stage}", deferred(None, stage), "451 4.4.1 No downstream took the message")
        for stage in MESSAGE_STAGES
    ),
    ("without enhanced code", deferred("450 busy"), "450 4.0.0 busy"),
    (
        "no reply that could be passed on",
        Deferred(stage=Stage.MAIL, reply=Reply(code=503, text="bad sequence")),
        "451 4.4.1 No downstream took the message",
    ),
    ("closing", deferred("421 4.3.2 shutting down"), "451 4.3.2 shutting down"),
    ("closing, without enhanced code", deferred("421 shutting down"), "451 4.0.0 shutting down"),
    *(
        (f"5yz at {stage}", rejected("552 5.3.4 too big", stage), "552 5.3.4 too big")
        for stage in MESSAGE_STAGES
    ),
    ("5yz without enhanced code", rejected("550 no such user"), "550 5.0.0 no such user"),
    ("5yz without a reply", Rejected(stage=Stage.MAIL), "451 4.4.1 No downstream took the message"),
]


@pytest.mark.parametrize(
    ("outcome", "line"),
    [pytest.param(outcome, line, id=name) for name, outcome, line in ANSWERS],
)
def test_what_the_client_hears(outcome: Outcome, line: str) -> None:
    assert str(answer(outcome)) == line
    assert str(reply([outcome], downstreams=1)) == line


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.TLS, Stage.EHLO, Stage.AUTH])
def test_a_downstreams_words_about_the_session_stay_inside(stage: Stage) -> None:
    secret = deferred("535 5.7.8 login apikey@provider is unknown", stage)
    assert "apikey" not in str(answer(secret))


# Nothing left to try.


@pytest.mark.parametrize(
    ("outcomes", "line"),
    [
        ([], "451 4.4.1 No downstream took the message"),
        ([unreachable()], "451 4.4.1 No downstream took the message"),
        ([deferred("450 4.2.1 one"), deferred("452 4.3.1 two")], "452 4.3.1 two"),
        ([deferred("452 4.3.1 two"), unreachable()], "451 4.4.1 No downstream took the message"),
        ([deferred("450 4.2.1 one"), deferred("421 4.3.2 two")], "451 4.3.2 two"),
    ],
)
def test_when_nothing_is_left_the_last_transient_reply_is_the_answer(
    outcomes: list[Outcome], line: str
) -> None:
    assert str(reply(outcomes, downstreams=len(outcomes))) == line


@pytest.mark.parametrize(
    ("outcomes", "line"),
    [
        ([rejected("550 5.1.1 a"), rejected("550 5.7.1 b")], "550 5.7.1 b"),
        ([rejected("550 5.1.1 a"), deferred("450 4.2.1 b")], "450 4.2.1 b"),
        ([deferred("450 4.2.1 a"), rejected("550 5.1.1 b")], "450 4.2.1 a"),
        ([unreachable(), rejected("550 5.1.1 b")], "451 4.4.1 No downstream took the message"),
        ([in_doubt(), rejected("550 5.1.1 b")], str(IN_DOUBT)),
        ([rejected("550 5.1.1 a"), in_doubt()], str(IN_DOUBT)),
        ([in_doubt(), deferred("450 4.2.1 b")], "450 4.2.1 b"),
        ([rejected("550 5.1.1 a"), Rejected(stage=Stage.MAIL)], str(UNREACHABLE)),
    ],
)
def test_only_when_all_refused_for_good_is_the_answer_permanent(
    outcomes: list[Outcome], line: str
) -> None:
    assert str(reply(outcomes, downstreams=2, failover_on=WIDENED)) == line


# failover_on widens and narrows.


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (deferred(), OutcomeKind.DEFERRED),
        (rejected(), OutcomeKind.REJECTED),
        (in_doubt(), OutcomeKind.IN_DOUBT),
    ],
    ids=["deferred", "rejected", "in doubt"],
)
def test_failover_on_says_after_what_another_is_tried(outcome: Outcome, kind: OutcomeKind) -> None:
    others = WIDENED - {kind}
    assert step([outcome], failover_on=frozenset({kind})) is None
    assert step([outcome], failover_on=WIDENED) is None
    assert reply([outcome], failover_on=others) == answer(outcome)
    assert reply([outcome], failover_on=frozenset()) == answer(outcome)


def test_after_a_delivery_nothing_is_tried_whatever_failover_on_says() -> None:
    everything = frozenset(OutcomeKind)
    assert reply([delivered()], failover_on=everything).is_positive


def test_the_refusal_is_the_answer_when_it_ends_it() -> None:
    assert str(reply([deferred("450 4.2.1 a"), rejected("550 5.1.1 b")])) == "550 5.1.1 b"


def test_no_5yz_while_another_downstream_may_have_the_message() -> None:
    failover_on = frozenset({OutcomeKind.DEFERRED, OutcomeKind.IN_DOUBT})
    assert reply([in_doubt(), rejected()], failover_on=failover_on) == IN_DOUBT


# Time.


def test_at_the_deadline_no_other_is_tried() -> None:
    assert reply([], now=DEADLINE) == TOO_LATE
    assert reply([deferred("450 4.2.1 busy")], now=DEADLINE) == TOO_LATE
    assert reply([deferred("450 4.2.1 busy")], now=DEADLINE + 1) == TOO_LATE
    assert step([deferred()], now=DEADLINE - 0.1) is None


@pytest.mark.parametrize("outcome", [delivered(), rejected(), in_doubt()], ids=str)
def test_an_outcome_that_ends_it_counts_after_the_deadline_too(outcome: Outcome) -> None:
    assert reply([outcome], now=DEADLINE + 1) == answer(outcome)


def test_when_all_were_tried_their_reply_is_the_answer_after_the_deadline_too() -> None:
    assert reply([deferred("450 4.2.1 a")], downstreams=1, now=DEADLINE + 1) == make_reply("450 4.2.1 a")


def test_when_time_ran_out_on_the_last_of_them_that_is_the_answer() -> None:
    silent = Deferred(stage=Stage.RCPT, reason="timed out")
    assert reply([silent], downstreams=1, now=DEADLINE) == TOO_LATE
    assert reply([silent], downstreams=1, now=DEADLINE - CLOCK_TOLERANCE_S) == TOO_LATE
    assert reply([silent], downstreams=1, now=DEADLINE - 1) == UNREACHABLE


def test_without_room_anywhere_the_client_is_told_to_come_back() -> None:
    assert without_room([]) == USED_UP
    assert USED_UP.is_transient


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([deferred("450 4.2.1 busy")], make_reply("450 4.2.1 busy")),
        ([rejected("550 5.1.1 no")], UNREACHABLE),
        ([rejected("550 5.1.1 no"), in_doubt()], IN_DOUBT),
    ],
)
def test_who_was_not_asked_for_lack_of_room_may_yet_take_it(
    outcomes: list[Outcome], said: Reply
) -> None:
    attempts = [make_attempt(outcome=outcome) for outcome in outcomes]
    assert without_room(attempts) == said
    assert said.is_transient


@pytest.mark.parametrize(
    ("tried", "downstreams", "now", "until"),
    [
        (0, 1, 0.0, 100.0),
        (0, 2, 0.0, 50.0),
        (0, 4, 0.0, 25.0),
        (1, 2, 0.0, 100.0),  # the first was quick: all is left for the second
        (1, 2, 50.0, 100.0),  # it took its share
        (1, 3, 40.0, 70.0),
        (3, 4, 99.0, 100.0),
    ],
)
def test_what_is_left_to_the_deadline_is_shared_by_those_not_yet_tried(
    tried: int, downstreams: int, now: float, until: float
) -> None:
    assert end_of_attempt(now, DEADLINE, left=downstreams - tried) == until


@given(downstreams=st.integers(1, 50), start=st.floats(0, 99.0))
def test_downstreams_that_hang_leave_time_for_the_last(downstreams: int, start: float) -> None:
    now = start
    for tried in range(downstreams):
        assert step([unreachable()] * tried, downstreams=downstreams, now=now) is None
        until = end_of_attempt(now, DEADLINE, left=downstreams - tried)
        assert now < until <= DEADLINE + 1e-9
        assert until - now >= (DEADLINE - start) / downstreams * 0.999
        now = min(until, DEADLINE - CLOCK_TOLERANCE_S - 1e-12)


# Promises that hold for any history.

lines = st.sampled_from(["450 4.2.1 busy", "421 closing", "454 4.7.0 x", "554 5.3.2 no", None])
permanent = st.sampled_from(["550 5.1.1 no", "552 too big", None])
any_outcome = st.one_of(
    st.just(delivered()),
    st.just(in_doubt()),
    st.builds(deferred, lines, st.sampled_from(Stage)),
    st.builds(rejected, permanent, st.sampled_from(MESSAGE_STAGES)),
)


@given(
    st.lists(any_outcome, max_size=5),
    st.integers(1, 5),
    st.floats(0, 2 * DEADLINE),
    st.frozensets(st.sampled_from(OutcomeKind)),
)
def test_any_last_word_is_one_the_client_may_hear(
    outcomes: list[Outcome], downstreams: int, now: float, failover_on: frozenset[OutcomeKind]
) -> None:
    said = step(outcomes, downstreams=downstreams, now=now, failover_on=failover_on)
    if said is None:
        assert now < DEADLINE
        assert len(outcomes) < downstreams
        return
    last = outcomes[-1] if outcomes else None
    assert said.enhanced
    assert said.code != 421
    if said.is_positive:
        assert isinstance(last, Delivered)
    elif said.is_permanent:
        assert isinstance(last, Rejected)
        assert last.reply is not None
        assert not any(isinstance(outcome, InDoubt) for outcome in outcomes)
    else:
        assert said.is_transient


@pytest.mark.parametrize(
    "fault", [UNREACHABLE, IN_DOUBT, TOO_LATE, OUR_FAULT, *SESSION_REPLIES.values()]
)
def test_our_own_replies_are_transient_and_have_enhanced_codes(fault: Reply) -> None:
    assert fault.is_transient
    assert fault.enhanced


def test_giving_up_before_anything_was_tried_is_unreachable() -> None:
    assert give_up([]) == UNREACHABLE
