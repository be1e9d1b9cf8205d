from dataclasses import replace

from smtp_router import Health, Outcome
from smtp_router.routing.health import Figures
from tests.support import deferred, delivered, in_doubt, make_attempt, rejected, unreachable


def after(*outcomes: Outcome) -> Health:
    figures = Figures()
    for outcome in outcomes:
        figures.count(make_attempt(outcome))
    return figures.frozen()


def test_nothing_is_counted_before_the_first_attempt() -> None:
    assert after() == Health()


def test_deliveries_and_failures_are_counted() -> None:
    assert after(delivered(), deferred(), delivered(), unreachable(), in_doubt()) == Health(
        delivered=2, failed=3, consecutive_failures=2
    )


def test_a_delivery_ends_a_row_of_failures() -> None:
    assert after(deferred(), deferred(), delivered()).consecutive_failures == 0


def test_a_refusal_of_the_message_says_nothing_of_the_downstream() -> None:
    assert after(rejected()) == Health()
    assert after(deferred(), rejected()).consecutive_failures == 1


def test_a_quota_that_is_used_up_says_nothing_of_the_downstream() -> None:
    assert after(replace(deferred(), neutral=True)) == Health()


def test_attempts_under_way_are_counted_whatever_ends_them() -> None:
    figures = Figures()
    with figures.attempt(), figures.attempt():
        assert figures.frozen().in_flight == 2
    try:
        with figures.attempt():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert figures.frozen().in_flight == 0


def test_frozen_figures_stay_as_they_were() -> None:
    figures = Figures()
    before = figures.frozen()
    figures.count(make_attempt(delivered()))
    assert before == Health()
