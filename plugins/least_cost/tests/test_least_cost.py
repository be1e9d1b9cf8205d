import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Deferred, Delivered, Downstream, InDoubt, Message, Outcome, Rejected, Stage
from smtp_router.testing import VirtualClock, make_attempt, make_downstream, make_message
from smtp_router_least_cost import LeastCost

START = datetime(2026, 11, 10, 12, tzinfo=UTC)


def clock_at(wall: datetime) -> VirtualClock:
    return VirtualClock(0, wall)


def message(name: str = "1", recipients: int = 1) -> Message:
    return make_message(id=name, rcpt_tos=tuple(f"b{number}@b.example" for number in range(recipients)))


def downstream(name: str, cost: float | None = None, **options: object) -> Downstream:
    if cost is not None:
        options["cost_per_1000"] = cost
    return make_downstream(name, options=options)


def free(name: str, units: int, cost: float = 9, **options: object) -> Downstream:
    """One whose first units of a month cost nothing."""
    tiers = [{"up_to": units, "cost_per_1000": 0}, {"cost_per_1000": cost}]
    return downstream(name, None, tiers=tiers, **options)


def made(clock: VirtualClock | None = None, **options: str) -> LeastCost:
    return LeastCost(clock or clock_at(START), None, **options)


def choose(algorithm: LeastCost, offered: Sequence[Downstream], mail: Message) -> str | None:
    found = algorithm.select_downstream(mail, offered)
    assert found is None or any(found is one for one in offered)
    return found.name if found else None


def end(
    algorithm: LeastCost, downstream: Downstream, mail: Message, outcome: Outcome | None = None
) -> None:
    algorithm.after_send(mail, make_attempt(downstream, outcome))


def send(
    algorithm: LeastCost, offered: Sequence[Downstream], messages: int = 1, recipients: int = 1
) -> str:
    """One after the other, all of which are delivered; where to."""
    chosen = ""
    for _ in range(messages):
        mail = message(recipients=recipients)
        found = algorithm.select_downstream(mail, offered)
        chosen += found.name if found else "-"
        if found:
            end(algorithm, found, mail)
    return chosen


# The price of this message


def test_the_cheapest_has_the_mail_and_of_several_the_first() -> None:
    offered = [downstream("a", 1), downstream("b", 0.8), downstream("c", 0.80)]
    assert send(made(), offered, 3) == "bbb"
    assert send(made(), offered[:1], 3) == "aaa"


def test_what_is_free_is_used_up_first() -> None:
    offered = [downstream("a", 0.5), free("b", 2), free("c", 1)]
    assert send(made(), offered, 5) == "bbcaa"


def test_a_fee_that_is_paid_in_any_case_decides_nothing() -> None:
    assert send(made(), [downstream("a", 1), downstream("b", 0.9, monthly_fee=500)]) == "b"


def test_each_recipient_is_paid_for_unless_messages_are() -> None:
    offered = [downstream("a", 1), downstream("b", 2.5, per="message")]
    assert send(made(), offered, recipients=2) == "a"
    assert send(made(), offered, recipients=3) == "b"


def test_a_message_that_is_free_only_in_part_costs_the_rest() -> None:
    offered = [free("a", 3, cost=10), downstream("b", 4)]
    assert send(made(), offered, recipients=4) == "a"  # one at 10, rather than four at 4
    assert send(made(), offered, recipients=6) == "b"  # six at 4, rather than three at 10


def test_prices_that_differ_in_the_last_digit_differ() -> None:
    algorithm = made()
    assert send(algorithm, [downstream("a", 0.3), downstream("b", 0.29999999)], 3) == "bbb"
    three_tenths = [{"up_to": 1, "cost_per_1000": 0.1}, {"cost_per_1000": 0.2}]
    offered = [downstream("c", 0.15), downstream("d", tiers=three_tenths)]
    assert send(algorithm, offered, recipients=2) == "c"  # 0.3 both; in floats, d would be more


# The quota


def test_who_has_used_up_its_quota_has_no_more(caplog: pytest.LogCaptureFixture) -> None:
    offered = [downstream("a", 1, quota=2), downstream("b", 5, quota=1), downstream("c", 9, quota=3)]
    with caplog.at_level(logging.WARNING):
        assert send(made(), offered, 8) == "aabccc--"
    assert [record.getMessage() for record in caplog.records] == [
        f"quota of {name} used up for 2026-11" for name in "abc"
    ]


def test_a_message_that_would_exceed_a_quota_goes_elsewhere() -> None:
    offered = [downstream("a", 1, quota=5), downstream("b", 5)]
    algorithm = made()
    assert send(algorithm, offered, 2, recipients=3) == "ab"
    assert send(algorithm, offered, 3) == "aab"
    assert send(algorithm, [downstream("d", 0, quota=0)]) == "-"


# What counts

NOT_ON_THE_BILL = [Deferred(stage=stage) for stage in Stage] + [Rejected(stage=Stage.FINAL)]


@pytest.mark.parametrize("outcome", NOT_ON_THE_BILL, ids=str)
def test_what_was_not_taken_uses_nothing_up(outcome: Outcome) -> None:
    algorithm = made()
    first = downstream("a", 1, quota=1)
    for _ in range(3):
        assert choose(algorithm, [first], message()) == "a"
        end(algorithm, first, message(), outcome)


def test_what_may_have_been_taken_is_counted() -> None:
    algorithm = made()
    first = downstream("a", 1, quota=1)
    end(algorithm, first, message(), InDoubt())
    assert choose(algorithm, [first], message()) is None


def test_what_another_plugin_has_sent_there_is_counted() -> None:
    algorithm = made()
    offered = [free("a", 3), downstream("b", 1)]
    end(algorithm, offered[0], message("other", 3))
    assert send(algorithm, offered) == "b"


def test_downstreams_of_one_account_are_counted_together() -> None:
    offered = [free("a", 2, account="one"), downstream("b", 1)]
    again = [free("c", 2, account="one"), downstream("d", 1)]
    algorithm = made()
    assert send(algorithm, offered) + send(algorithm, again, 2) + send(algorithm, offered) == "acdb"


# Many at the same time


def test_what_is_being_sent_counts_as_sent() -> None:
    algorithm = made()
    offered = [free("a", 10), downstream("b", 1)]
    names = [choose(algorithm, offered, message(str(number), 3)) for number in range(5)]
    assert names == ["a", "a", "a", "b", "b"]


def test_what_failed_is_given_back() -> None:
    algorithm = made()
    offered = [free("a", 2), downstream("b", 1)]
    assert [choose(algorithm, offered, message(name)) for name in "123"] == ["a", "a", "b"]
    end(algorithm, offered[0], message("1"), Deferred(stage=Stage.MAIL))
    assert choose(algorithm, offered, message("4")) == "a"


def test_a_message_that_is_asked_for_again_is_held_for_once() -> None:
    """As after a failed attempt, or when others have taken the last place meanwhile."""
    algorithm = made()
    offered = [free("a", 1), downstream("b", 1)]
    assert [choose(algorithm, offered, message("1")) for _ in range(3)] == ["a"] * 3
    assert choose(algorithm, offered[1:], message("1")) == "b"
    assert choose(algorithm, offered, message("2")) == "a"


def test_a_choice_that_no_attempt_follows_is_given_back_after_a_quarter_of_an_hour() -> None:
    clock = clock_at(START)
    algorithm = made(clock)
    offered = [free("a", 2), downstream("b", 1)]
    assert choose(algorithm, offered, message("gone")) == "a"
    clock.advance(600)
    assert choose(algorithm, offered, message("later")) == "a"
    clock.advance(299)
    assert choose(algorithm, offered, message("2")) == "b"
    clock.advance(1)
    assert choose(algorithm, offered, message("3")) == "a"
    assert choose(algorithm, offered, message("4")) == "b"


steps = st.lists(
    st.tuples(
        st.sampled_from(["choose", "deliver", "fail", "wait"]), st.integers(0, 9), st.integers(1, 4)
    ),
    max_size=80,
)


@given(steps=steps, free_units=st.integers(1, 12), quota=st.integers(0, 20))
def test_no_free_tier_and_no_quota_is_ever_overshot(
    steps: list[tuple[str, int, int]], free_units: int, quota: int
) -> None:
    clock = clock_at(START)
    algorithm = made(clock)
    offered = [free("a", free_units, quota=free_units), downstream("b", 1, quota=quota)]
    under_way: dict[str, tuple[Downstream, Message]] = {}
    sent: Counter[str] = Counter()
    for what, number, recipients in steps:
        name = str(number)
        if what == "choose" and name not in under_way:
            mail = message(name, recipients)
            found = algorithm.select_downstream(mail, offered)
            if found:
                under_way[name] = found, mail
        elif what == "wait":
            clock.advance(10)  # so that what is under way is held for, all the time
        elif name in under_way:
            chosen, mail = under_way.pop(name)
            end(algorithm, chosen, mail, Delivered() if what == "deliver" else InDoubt())
            sent[chosen.name] += len(mail.rcpt_tos)
    assert sent["a"] <= free_units
    assert sent["b"] <= quota


# Months


def test_a_month_begins_anew_and_one_that_comes_again_goes_on() -> None:
    clock = clock_at(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    algorithm = made(clock)
    offered = [free("a", 2), downstream("b", 1)]
    assert send(algorithm, offered, 3) == "aab"
    clock.advance(1)
    assert send(algorithm, offered) == "a"
    clock.wall_is_off_s = -1  # somebody has set it back
    assert send(algorithm, offered) == "b"
    clock.wall_is_off_s = 0
    assert send(algorithm, offered, 2) == "ab"


def test_months_begin_at_midnight_of_the_time_zone() -> None:
    clock = clock_at(datetime(2026, 11, 30, 22, 59, 59, tzinfo=UTC))
    algorithm = made(clock, timezone="Europe/Berlin")
    offered = [free("a", 1), downstream("b", 1)]
    assert send(algorithm, offered, 2) == "ab"
    clock.advance(1)
    assert send(algorithm, offered, 2) == "ab"


def test_the_log_has_the_bill_once_a_day_and_at_the_end_of_a_month_all_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = clock_at(datetime(2026, 11, 29, 12, tzinfo=UTC))
    algorithm = made(clock, currency="EUR")
    offered = [downstream("a", 500), downstream("b", 600, monthly_fee=15)]

    def told(messages: int) -> list[str]:
        caplog.clear()
        send(algorithm, offered, messages, recipients=2)
        return [record.getMessage() for record in caplog.records]

    fee = "b 15.00 (0 recipients)"
    assert told(3) == [f"bill of 2026-11: a 0.00 (0 recipients), {fee}, in all 15.00 EUR"]
    assert told(2) == []
    clock.advance(86_400)
    assert told(1) == [f"bill of 2026-11: a 5.00 (10 recipients), {fee}, in all 20.00 EUR"]
    clock.advance(86_400)
    assert told(1) == [f"bill of 2026-11: a 6.00 (12 recipients), {fee}, in all 21.00 EUR"]
    clock.advance(86_400)
    assert told(1) == [f"bill of 2026-12: a 1.00 (2 recipients), {fee}, in all 16.00 EUR"]


def test_a_downstream_that_a_reload_has_dropped_is_on_no_later_bill(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = clock_at(START)
    algorithm = made(clock)
    first, second = downstream("a", 0), downstream("b", 1, monthly_fee=15)
    send(algorithm, [first, second])
    for _ in range(2):
        clock.advance(86_400)
        send(algorithm, [first])
    assert [", b 15.00" in record.getMessage() for record in caplog.records] == [True, False, False]


# Configuration


def test_options_that_a_reload_has_changed_count() -> None:
    algorithm = made()
    assert send(algorithm, [downstream("a", 1), downstream("b", 2)]) == "a"
    assert send(algorithm, [downstream("a", 3), downstream("b", 2)]) == "b"


def test_a_downstream_without_a_price_refuses_the_configuration() -> None:
    algorithm = made()
    algorithm.check_downstreams([downstream("a", 1), downstream("b", 2)])
    with pytest.raises(ValueError, match=r"^downstream b: options must have cost_per_1000 or tiers"):
        algorithm.check_downstreams([downstream("a", 1), downstream("b")])


def test_an_account_has_one_price() -> None:
    algorithm = made()
    one, two = downstream("a", 1, account="x"), downstream("b", 1, account="x")
    algorithm.check_downstreams([one, two])
    with pytest.raises(ValueError, match=r"^downstream b: options\.account: x has another price at a"):
        algorithm.check_downstreams([one, downstream("b", 2, account="x")])


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc", "/etc/localtime", 1, None])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^timezone must be a name such as Europe/Berlin, not "):
        made(timezone=name)


@pytest.mark.parametrize("currency", ["E\nR", "a long name of a currency", 1, None])
def test_what_is_no_currency_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match=r"^currency must be a code such as EUR, not "):
        made(currency=currency)
