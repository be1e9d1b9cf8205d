from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.testing import make_downstream
from smtp_router_least_cost._tariff import Tariff, Terms, Tier, terms_of


def terms(**options: object) -> Terms:
    return terms_of(make_downstream("a", options=options))


def tariff(**options: object) -> Tariff:
    return terms(**options).tariff


FREE_FIRST = [{"up_to": 10_000, "cost_per_1000": 0}, {"cost_per_1000": 0.8}]
BANDS = [
    {"up_to": 10, "cost_per_1000": 0},
    {"up_to": 30, "cost_per_1000": 1.5},
    {"up_to": 100, "cost_per_1000": 1},
    {"cost_per_1000": 0.25},
]


@pytest.mark.parametrize(
    ("options", "units", "cost"),
    [
        ({"cost_per_1000": 0.8}, 0, "0"),
        ({"cost_per_1000": 0.8}, 1, "0.0008"),
        ({"cost_per_1000": 0.1}, 3, "0.0003"),  # in floats, 0.30000000000000004 of a thousandth
        ({"cost_per_1000": 0}, 10**9, "0"),
        ({"cost_per_1000": 1e-05}, 1, "0.00000001"),
        ({"tiers": FREE_FIRST}, 10_000, "0"),
        ({"tiers": FREE_FIRST}, 10_001, "0.0008"),
        ({"tiers": FREE_FIRST}, 1_010_000, "800"),
        ({"tiers": BANDS}, 10, "0"),
        ({"tiers": BANDS}, 30, "0.03"),
        ({"tiers": BANDS}, 31, "0.031"),
        ({"tiers": BANDS}, 200, "0.125"),
        ({"cost_per_1000": 1, "monthly_fee": 15}, 1000, "1"),
    ],
)
def test_a_month_costs_to_the_last_digit(options: dict[str, object], units: int, cost: str) -> None:
    assert tariff(**options).cost(units) == Decimal(cost)


@given(used=st.integers(0, 300), first=st.integers(0, 300), second=st.integers(0, 300))
def test_a_price_is_the_same_in_one_piece_and_in_two(used: int, first: int, second: int) -> None:
    bands = tariff(tiers=BANDS)
    both = bands.price(used, first) + bands.price(used + first, second)
    assert both == bands.price(used, first + second)
    assert bands.price(0, used) == bands.cost(used)


def test_recipients_count_unless_it_says_messages() -> None:
    assert tariff(cost_per_1000=1).units(2, 5) == 5
    assert tariff(cost_per_1000=1, per="message").units(2, 5) == 2


def test_an_account_is_called_as_its_downstream_unless_it_says_otherwise() -> None:
    assert terms(cost_per_1000=1).account == "a"
    assert terms(cost_per_1000=1, account="ses").account == "ses"


def test_what_is_written_down_is_what_is_read() -> None:
    one = tariff(tiers=BANDS, monthly_fee=15.5, per="message", quota=7)
    assert Tariff.from_json(one.as_json()) == one
    assert one.tiers[1] == Tier(up_to=30, cost_per_1000=Decimal("1.5"))


@pytest.mark.parametrize("value", [-1, "0.8", float("nan"), float("inf"), 10**400, True, None, [1]])
@pytest.mark.parametrize("name", ["cost_per_1000", "monthly_fee"])
def test_what_is_no_price_is_refused(name: str, value: object) -> None:
    options = {"cost_per_1000": 1} | {name: value}
    with pytest.raises(
        ValueError, match=rf"^downstream a: options\.{name} must be a number from 0 to 1000000, not "
    ):
        terms(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, " must have cost_per_1000 or tiers"),
        (
            {"cost_per_1000": 1, "tiers": FREE_FIRST},
            r" must have cost_per_1000 or tiers \(one of them\)",
        ),
        ({"cost_per_100": 1}, r"\.cost_per_100 is not an option: did you mean cost_per_1000\?"),
        ({"cost_per_1000": 1, "qouta": 1}, r"\.qouta is not an option: did you mean quota\?"),
        ({"cost_per_1000": 1, "quota": 1.5}, r"\.quota must be a whole number from 0 on, not 1\.5"),
        ({"cost_per_1000": 1, "quota": -1}, r"\.quota must be a whole number"),
        ({"cost_per_1000": 1, "quota": True}, r"\.quota must be a whole number"),
        ({"cost_per_1000": 1, "per": "mail"}, r"\.per must be recipient or message, not 'mail'"),
        ({"cost_per_1000": 1, "per": []}, r"\.per must be recipient or message"),
        ({"cost_per_1000": 1, "account": ""}, r"\.account must be a name, not ''"),
        ({"cost_per_1000": 1, "account": "a\nb"}, r"\.account must be a name"),
        ({"cost_per_1000": 1, "account": 7}, r"\.account must be a name"),
        ({"tiers": []}, r"\.tiers must be a list"),
        ({"tiers": {"up_to": 1}}, r"\.tiers must be a list"),
        ({"tiers": [1]}, r"\.tiers\[0\] must be a mapping"),
        (
            {"tiers": [{"cost": 1}]},
            r"\.tiers\[0\]\.cost is not an option: it takes up_to, cost_per_1000",
        ),
        ({"tiers": [{"up_to": 1}]}, r"\.tiers\[0\]\.cost_per_1000 must be a number"),
        ({"tiers": [{"up_to": 1.0, "cost_per_1000": 1}]}, r"\.tiers\[0\]\.up_to must be a whole"),
        ({"tiers": [{"up_to": 1, "cost_per_1000": 1}]}, r"\.tiers: the last one has no up_to"),
        ({"tiers": [BANDS[1], BANDS[0], BANDS[3]]}, r"\.tiers\[1\]\.up_to must be more than 30, not 10"),
        ({"tiers": [BANDS[3], BANDS[3]]}, r"\.tiers\[0\]\.up_to must be more than 0, not None"),
    ],
)
def test_wrong_options_are_refused_with_downstream_and_option(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^downstream a: options{says}"):
        terms(**options)


def test_options_of_other_plugins_are_none_of_its_business() -> None:
    assert terms(cost_per_1000=1, weight=3, warmup={}, max_bytes=1).tariff == tariff(cost_per_1000=1)
