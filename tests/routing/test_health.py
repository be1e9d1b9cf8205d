"""What plugins see of how a downstream fares, and when it rests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Health, HealthState, Outcome
from smtp_router.core.blame import Blame
from smtp_router.core.breaker import Rules
from smtp_router.core.downstream import with_figures
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.health import Change, Gauge
from tests.support import deferred, delivered, in_doubt, make_downstream, rejected, unreachable

RULES = Rules()
CLOSED, HALF_OPEN, OPEN = HealthState.CLOSED, HealthState.HALF_OPEN, HealthState.OPEN


class Account:
    """A gauge whose attempts take a moment."""

    def __init__(self, server: Circuit | None = None) -> None:
        self.gauge = Gauge(server or Circuit(RULES.window_s), RULES.window_s)

    def after(self, *outcomes: Outcome, now: float = 0.0, seconds: float = 0.1) -> list[Change]:
        changes: list[Change] = []
        for outcome in outcomes:
            entries = self.gauge.enter(now)
            changes += self.gauge.count(entries, outcome, seconds, now, rules=RULES, chance=lambda: 0.0)
            self.gauge.leave(entries)
        return changes

    def health(self, now: float = 0.0) -> Health:
        return with_figures(make_downstream(), self.gauge.figures(now)).health


@pytest.fixture
def account() -> Account:
    return Account()


# Figures.


def test_nothing_is_counted_before_the_first_attempt(account: Account) -> None:
    assert account.health() == Health()


def test_deliveries_and_failures_are_counted(account: Account) -> None:
    account.after(delivered(), unreachable(), delivered(), in_doubt(), unreachable())
    health = account.health()
    assert (health.delivered, health.failed, health.consecutive_failures) == (2, 3, 2)
    assert health.success_rate == 0.4


def test_a_delivery_ends_a_row_of_failures(account: Account) -> None:
    account.after(unreachable(), unreachable(), delivered())
    assert account.health().consecutive_failures == 0


@pytest.mark.parametrize("own", [rejected(), deferred("450 4.2.0 greylisted")], ids=str)
def test_what_is_the_messages_own_fault_is_not_counted(account: Account, own: Outcome) -> None:
    account.after(own, seconds=9.0)
    assert account.health() == Health()
    account.after(unreachable(), own)
    assert account.health().consecutive_failures == 1


def test_attempts_under_way_are_counted(account: Account) -> None:
    entries = [account.gauge.enter(0.0) for _ in range(2)]
    assert account.health().in_flight == 2
    for entry in entries:
        account.gauge.leave(entry)
    assert account.health().in_flight == 0


def test_the_success_rate_is_that_of_the_window(account: Account) -> None:
    account.after(delivered(), unreachable(), now=0.0)
    assert account.health(now=30.0).success_rate == 0.5
    account.after(delivered(), delivered(), now=40.0)
    assert account.health(now=40.0).success_rate == 0.75
    assert account.health(now=70.0).success_rate == 1.0


def test_only_deliveries_say_how_long_one_takes(account: Account) -> None:
    account.after(delivered(), seconds=2.0)
    account.after(rejected(), unreachable(), seconds=60.0)
    assert (account.health().latency_s, account.health().p95_s) == (2.0, 2.0)


def test_frozen_figures_stay_as_they_were(account: Account) -> None:
    before = account.health()
    account.after(delivered())
    assert before == Health()


def test_figures_are_frozen_once_until_they_change(account: Account) -> None:
    account.after(delivered())
    figures = account.gauge.figures(now=1.0)
    assert account.gauge.figures(now=1e6) is figures
    account.after(rejected())
    assert account.gauge.figures(now=1e6) == figures


def test_figures_that_change_with_time_are_frozen_anew(account: Account) -> None:
    account.after(*[unreachable()] * 3, now=0.0)
    states = [account.health(now).state for now in (0.0, 4.9, 5.0)]
    assert states == [OPEN, OPEN, HALF_OPEN]


# Whose fault, and who rests.


def test_a_server_that_cannot_be_reached_rests_for_all_of_its_accounts(account: Account) -> None:
    server = Circuit(RULES.window_s)
    one, two = Account(server), Account(server)
    changes = one.after(unreachable()) + two.after(unreachable(), unreachable())
    assert changes == [Change(Blame.SERVER, 5.0)]
    assert one.gauge.is_resting(0.0)
    assert two.gauge.is_resting(0.0)
    assert (one.health().failed, two.health().failed) == (1, 2)
    assert one.health().state is two.health().state is OPEN
    assert not account.gauge.is_resting(0.0)


def test_an_account_that_is_refused_rests_alone() -> None:
    server = Circuit(RULES.window_s)
    one, two = Account(server), Account(server)
    assert one.after(*[in_doubt()] * 3) == [Change(Blame.ACCOUNT, 5.0)]
    assert one.gauge.is_resting(0.0)
    assert not two.gauge.is_resting(0.0)
    assert (one.health().state, two.health().state) == (OPEN, CLOSED)


def test_what_another_account_finds_out_of_the_server_is_seen_at_once() -> None:
    server = Circuit(RULES.window_s)
    one, two = Account(server), Account(server)
    assert two.health().state is CLOSED
    one.after(*[unreachable()] * 3)
    assert [two.health(now).state for now in (0.0, 5.0)] == [OPEN, HALF_OPEN]
    one.after(*[delivered()] * 6, now=5.0)
    assert two.health(5.0).state is CLOSED


def test_a_delivery_ends_the_servers_row_of_failures_too(account: Account) -> None:
    for _ in range(2):
        account.after(unreachable(), unreachable(), delivered())
    account.after(unreachable(), unreachable())
    assert not account.gauge.is_resting(0.0)


def test_deliveries_count_for_the_servers_share_of_failures(account: Account) -> None:
    for _ in range(15):
        account.after(delivered(), delivered(), unreachable())
    assert not account.gauge.is_resting(0.0)


def test_failures_of_the_two_kinds_are_not_one_row(account: Account) -> None:
    assert account.after(unreachable(), in_doubt(), unreachable(), in_doubt()) == []
    assert account.health().consecutive_failures == 4


def test_a_message_that_was_refused_shows_that_the_server_can_be_reached(account: Account) -> None:
    account.after(unreachable(), unreachable(), rejected(), unreachable(), unreachable())
    assert not account.gauge.is_resting(0.0)


def test_it_does_not_show_that_the_account_is_well(account: Account) -> None:
    account.after(in_doubt(), in_doubt(), rejected(), in_doubt())
    assert account.gauge.is_resting(0.0)


def test_a_delivery_brings_both_back(account: Account) -> None:
    account.after(*[unreachable()] * 3, *[in_doubt()] * 3)
    assert account.after(delivered(), now=10.0) == [
        Change(Blame.ACCOUNT, None),
        Change(Blame.SERVER, None),
    ]
    assert account.health(10.0).state is HALF_OPEN


def test_the_last_failure_of_either_counts_for_who_failed_least_recently(account: Account) -> None:
    account.after(unreachable(), now=1.0)
    account.after(in_doubt(), now=2.0)
    assert account.gauge.failed_at == 2.0
    account.after(delivered(), now=3.0)
    assert account.gauge.failed_at == 2.0


def test_a_window_of_another_length_is_taken_over(account: Account) -> None:
    account.after(unreachable())
    entries = account.gauge.enter(1.0)
    account.gauge.count(entries, unreachable(), 0.1, 1.0, rules=Rules(window_s=2.0), chance=lambda: 0.0)
    account.gauge.leave(entries)
    assert account.health(now=2.9).success_rate == 0.0
    assert account.health(now=3.1).success_rate == 1.0


# A delivery that changes no state


@given(
    st.lists(
        st.tuples(
            st.sampled_from((0.0, 0.0, 1.0, 6.0, 61.0)),
            st.integers(0, 3),
            st.sampled_from((delivered(), delivered(), unreachable(), in_doubt(), rejected())),
        ),
        max_size=40,
    )
)
def test_one_that_is_counted_at_once_leaves_all_as_one_that_is_counted_step_by_step(
    steps: list[tuple[float, int, Outcome]],
) -> None:
    quick, slow, now = Account(), Account(), 0.0
    under_way = [(one.gauge.enter(now), two.gauge.enter(now)) for one, two in [(quick, slow)] * 4]
    for pause, which, outcome in steps:
        now += pause
        entries, twins = under_way.pop(which)
        if outcome != delivered() or not quick.gauge.delivered(pause, now):
            quick.gauge.count(entries, outcome, pause, now, rules=RULES, chance=lambda: 0.0)
            quick.gauge.leave(entries)
        slow.gauge.count(twins, outcome, pause, now, rules=RULES, chance=lambda: 0.0)
        slow.gauge.leave(twins)
        under_way.append((quick.gauge.enter(now), slow.gauge.enter(now)))
        assert quick.health(now) == slow.health(now)
        assert quick.gauge.is_resting(now) == slow.gauge.is_resting(now)
        for whose in (Blame.SERVER, Blame.ACCOUNT):
            one, two = quick.gauge.circuit(whose), slow.gauge.circuit(whose)
            assert (one.breaker, one.good(now)) == (two.breaker, two.good(now))
