"""What a modelled downstream does, and when."""

from typing import Any

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Rejected, Stage
from smtp_router.config.behaviour import Behaviour
from smtp_router.config.settings import Timeouts
from smtp_router.core.reply import Reply
from smtp_router.simulation.luck import Luck
from smtp_router.simulation.server import Course, Limit, Server
from smtp_router.smtp.verdict import verdict
from tests.support import make_message

LIMIT = Limit(Timeouts(), shortest_s=30.0, until=1000.0, deadline=2000.0)
NO_LUCK = Luck(chance=0.5, transaction=0.0, opening=0.0)


def meaning(stage: Stage, reply: Reply) -> Outcome:
    outcome = verdict(stage, reply.code, f"{reply.enhanced} {reply.text}")
    assert outcome is not None
    return outcome


def server(**keys: Any) -> Server:  # noqa: ANN401 - as the scenario has them
    return Server(Behaviour.model_validate({"latency": "2s", "connect": "1s", **keys}), meaning)


def transact(
    one: Server, now: float = 0.0, luck: Luck = NO_LUCK, limit: Limit = LIMIT, *, kept: bool = True
) -> Course:
    return one.transact(now, luck, limit, make_message(), kept=kept)


def test_a_healthy_one_takes_everything() -> None:
    one = server()
    assert one.open(0.0, NO_LUCK, LIMIT, 0) == Course(1.0, None, stays=True)
    course = transact(one)
    assert (course.seconds, course.stays) == (2.0, True)
    assert isinstance(course.outcome, Delivered)


def test_latency_spreads_as_its_quantiles_say() -> None:
    one = server(latency={"p50": "100ms", "p95": "400ms"})
    assert transact(one).seconds == pytest.approx(0.1)
    assert transact(one, luck=NO_LUCK._replace(transaction=1.6448536)).seconds == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("chance", "kind", "stage"),
    [
        (0.05, Rejected, "data"),
        (0.15, Deferred, "rcpt"),
        (0.25, InDoubt, "final"),
        (0.35, Delivered, "final"),
    ],
)
def test_failures_come_as_often_as_the_scenario_says(chance: float, kind: type, stage: str) -> None:
    failure = {"rejected": {"share": 0.1, "stage": "data"}, "deferred": 0.1, "in_doubt": 0.1}
    outcome = transact(server(failure=failure), luck=NO_LUCK._replace(chance=chance)).outcome
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Outcome)
    assert outcome.stage == stage


def test_a_refused_recipient_is_named_as_by_the_real_sender() -> None:
    outcome = transact(server(failure={"rejected": 1})).outcome
    assert outcome is not None
    assert str(outcome.reply) == "550 5.1.1 <rcpt@b.example>: No such mailbox"


OUTAGE = {"from": 10, "to": 20}


def test_nobody_listens_during_an_outage_and_all_is_well_again_behind_it() -> None:
    one = server(outages=[OUTAGE])
    assert one.open(8.0, NO_LUCK, LIMIT, 0).outcome is None
    course = one.open(15.0, NO_LUCK, LIMIT, 0)
    assert course.outcome == Deferred(stage=Stage.CONNECT, reason="connection refused")
    assert one.lost_at == 10
    assert one.open(20.0, NO_LUCK, LIMIT, 0).outcome is None


@pytest.mark.parametrize(
    ("begins", "seconds", "outcome"),
    [
        (8.5, 1.5, InDoubt(reason="connection lost")),  # the dot was out at 9.5
        (9.5, 0.5, Deferred(stage=Stage.MAIL, reason="connection lost")),
    ],
)
def test_what_is_under_way_as_it_begins_is_lost(begins: float, seconds: float, outcome: Outcome) -> None:
    course = transact(server(outages=[OUTAGE]), begins, kept=False)
    assert course == Course(seconds, outcome, stays=False)


def test_a_kept_connection_that_is_lost_before_its_dot_says_nothing_of_the_message() -> None:
    assert transact(server(outages=[OUTAGE]), 9.5, kept=True) == Course(0.5, None, stays=False)


@pytest.mark.parametrize(
    ("stage", "seconds", "outcome"),
    [
        ("connect", 30.0, Deferred(stage=Stage.CONNECT, reason="timed out")),
        ("auth", 60.0, Deferred(stage=Stage.AUTH, reason="timed out")),
    ],
)
def test_silence_lasts_as_long_as_the_stage_may(stage: str, seconds: float, outcome: Outcome) -> None:
    one = server(outages=[{**OUTAGE, "how": "timeout", "stage": stage}])
    assert one.open(15.0, NO_LUCK, LIMIT, 0) == Course(seconds, outcome, stays=False)


def test_silence_ends_with_the_attempts_time() -> None:
    one = server(outages=[{**OUTAGE, "how": "timeout"}])
    assert one.open(15.0, NO_LUCK, LIMIT._replace(until=18.0), 0).seconds == 3.0
    course = transact(one, 15.0, limit=LIMIT._replace(until=18.0))
    assert course == Course(3.0, Deferred(stage=Stage.MAIL, reason="timed out"), stays=False)


def test_silence_behind_the_dot_is_in_doubt() -> None:
    one = server(outages=[{**OUTAGE, "how": "timeout", "stage": "final"}])
    assert transact(one, 15.0, limit=LIMIT._replace(deadline=100.0)) == Course(
        85.0, InDoubt(reason="timed out"), stays=False
    )


def test_a_reply_is_heard_where_it_is_said() -> None:
    one = server(outages=[{**OUTAGE, "how": "454 4.7.0 not now", "stage": "auth"}])
    outcome = one.open(15.0, NO_LUCK, LIMIT, 0).outcome
    assert outcome is not None
    assert (outcome.kind, outcome.stage, str(outcome.reply)) == ("deferred", "auth", "454 4.7.0 not now")
    assert isinstance(transact(one, 15.0).outcome, Delivered)  # who is logged in, is


def test_a_kept_connection_that_is_closed_with_421_says_nothing_of_the_message() -> None:
    one = server(outages=[{**OUTAGE, "how": 421}])
    assert transact(one, 15.0, kept=True) == Course(1.0, None, stays=False)
    assert one.open(15.0, NO_LUCK, LIMIT, 0).outcome == meaning(Stage.CONNECT, Reply(code=421))


def test_slow_takes_longer_until_time_is_up() -> None:
    one = server(outages=[{**OUTAGE, "how": "slow", "slower": 20}])
    assert transact(one, 15.0).seconds == 40.0
    course = transact(one, 15.0, limit=LIMIT._replace(until=30.0))
    assert course == Course(15.0, Deferred(stage=Stage.MAIL, reason="timed out"), stays=False)
    course = transact(one, 15.0, limit=LIMIT._replace(deadline=40.0))
    assert course == Course(25.0, InDoubt(reason="timed out"), stays=False)


def test_its_own_limits_are_kept_and_free_again_later() -> None:
    one = server(limits={"per_second": 3, "reply": "421 4.7.0 slow down"})
    kinds = [transact(one, 5.0 + number / 1000).outcome for number in range(5)]
    assert [outcome and outcome.kind for outcome in kinds] == ["delivered"] * 3 + ["deferred"] * 2
    assert isinstance(transact(one, 7.0).outcome, Delivered)


def test_one_connection_too_many_hears_421() -> None:
    one = server(limits={"connections": 2})
    assert one.open(0.0, NO_LUCK, LIMIT, 1).outcome is None
    outcome = one.open(0.0, NO_LUCK, LIMIT, 2).outcome
    assert outcome is not None
    assert outcome.reply is not None
    assert outcome.reply.code == 421


def test_a_connection_takes_longer_while_all_is_slow_and_as_long_as_it_may() -> None:
    one = server(outages=[{**OUTAGE, "how": "slow", "slower": 20}])
    assert one.open(15.0, NO_LUCK, LIMIT, 0).seconds == 20.0
    course = one.open(15.0, NO_LUCK, LIMIT._replace(until=20.0), 0)
    assert course == Course(5.0, Deferred(stage=Stage.CONNECT, reason="timed out"), stays=False)


@pytest.mark.parametrize(
    ("how", "seconds", "reason"),
    [("refused", 0.5, "connection refused"), ("timeout", 30.5, "timed out")],
)
def test_a_connection_that_is_being_opened_as_an_outage_begins_is_not(
    how: str, seconds: float, reason: str
) -> None:
    course = server(outages=[{**OUTAGE, "how": how}]).open(9.5, NO_LUCK, LIMIT, 0)
    assert course == Course(seconds, Deferred(stage=Stage.CONNECT, reason=reason), stays=False)
