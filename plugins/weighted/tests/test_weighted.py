from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Downstream, Message
from smtp_router.testing import assert_share, conformance, make_downstream, make_message
from smtp_router_weighted import Weighted

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
Weights = Mapping[str, float]
OPTIONS: Sequence[Mapping[str, object]] = (
    {"weight": 3},
    {"weight": 0},
    {},
    {"warmup": {"from": "2026-02-01", "days": 30, "curve": "exponential"}},
)

test_conformance = conformance(Weighted, downstream_options=OPTIONS)
test_conformance_of_random = conformance(Weighted, {"mode": "random"}, downstream_options=OPTIONS)


def message(at: datetime = DAY) -> Message:
    return make_message(received_at=at)


def downstream(name: str, **options: object) -> Downstream:
    return make_downstream(name, options=options)


def offer(weights: Weights) -> tuple[Downstream, ...]:
    return tuple(downstream(name, weight=weight) for name, weight in weights.items())


def parts(weights: Weights) -> dict[Downstream, float]:
    """What part of the messages each is to have."""
    total = sum(weights.values())
    return {one: weights[one.name] / total for one in offer(weights)}


def choose(algorithm: Weighted, weights: Weights) -> str:
    return algorithm.select_downstream(message(), offer(weights)).name


def chosen(algorithm: Weighted, weights: Weights, messages: int) -> str:
    return "".join(choose(algorithm, weights) for _ in range(messages))


def shares(algorithm: Weighted, downstreams: Sequence[Downstream], at: datetime) -> Counter[str]:
    """Of 1000 messages."""
    return Counter(algorithm.select_downstream(message(at), downstreams).name for _ in range(1000))


def named(weights: Sequence[int]) -> dict[str, float]:
    return {chr(ord("a") + number): weight for number, weight in enumerate(weights)}


several_weights = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(named)

# Shares


def test_the_turns_are_mixed() -> None:
    assert chosen(Weighted(), {"a": 5, "b": 1, "c": 1}, 14) == "aabacaa" * 2


def test_without_weights_the_downstreams_take_turns() -> None:
    algorithm = Weighted()
    offered = [downstream(name) for name in "abc"]
    assert "".join(algorithm.select_downstream(message(), offered).name for _ in range(6)) == "abcabc"


@given(weights=several_weights, start=st.integers(0, 200))
def test_in_any_window_as_long_as_the_weights_add_up_to_each_has_exactly_its_weight(
    weights: Weights, start: int
) -> None:
    algorithm = Weighted()
    chosen(algorithm, weights, start)
    assert Counter(chosen(algorithm, weights, int(sum(weights.values())))) == weights


@given(weights=several_weights, messages=st.integers(0, 200))
def test_nobody_is_ever_a_whole_message_ahead(weights: Weights, messages: int) -> None:
    counts = Counter(chosen(Weighted(), weights, messages))
    total = sum(weights.values())
    assert all(counts[name] * total < messages * weight + total for name, weight in weights.items())


@given(weights=several_weights)
def test_fractions_are_as_exact_as_whole_numbers(weights: Weights) -> None:
    tenths = {name: weight / 10 for name, weight in weights.items()}
    assert chosen(Weighted(), tenths, 100) == chosen(Weighted(), weights, 100)


def test_each_of_100_downstreams_has_its_weight() -> None:
    weights = {str(number): number % 3 + 1 for number in range(100)}
    assert_share(Weighted, parts(weights), messages=2 * sum(weights.values()), within=0)


def test_random_has_the_shares_on_average() -> None:
    weights = {"a": 6, "b": 3, "c": 1, "d": 0}
    assert_share(Weighted, parts(weights), options={"mode": "random"})


def test_chance_is_what_is_given() -> None:
    weights = {"a": 1, "b": 1}
    first, second = (chosen(Weighted(mode="random", rng=Random(7)), weights, 100) for _ in "12")  # noqa: S311
    assert first == second
    third, fourth = (chosen(Weighted(mode="random"), weights, 100) for _ in "34")
    assert third != fourth


# Who is offered


@pytest.mark.parametrize("mode", ["smooth", "random"])
@given(
    offers=st.lists(
        st.dictionaries(
            st.sampled_from("abcdef"), st.sampled_from([0, 1e-9, 1, 7, 1_000_000]), min_size=1
        ),
        max_size=30,
    )
)
def test_what_is_chosen_is_one_of_those_offered_and_no_standby_if_there_is_another(
    mode: str, offers: list[dict[str, float]]
) -> None:
    algorithm = Weighted(mode=mode, rng=Random(1))  # noqa: S311
    for weights in offers:
        offered = offer(weights)
        found = algorithm.select_downstream(message(), offered)
        assert any(found is one for one in offered)
        assert weights[found.name] > 0 or not any(weights.values())


def test_of_several_standbys_the_first_has_the_mail() -> None:
    algorithm = Weighted()
    assert chosen(algorithm, {"a": 0, "b": 1, "c": 0}, 3) == "bbb"
    assert chosen(algorithm, {"a": 0, "c": 0}, 3) == "aaa"


def test_without_one_the_others_share_by_their_weights() -> None:
    algorithm = Weighted()
    chosen(algorithm, {"a": 4, "b": 2, "c": 1}, 70)
    assert Counter(chosen(algorithm, {"b": 2, "c": 1}, 30)) == {"b": 20, "c": 10}


@pytest.mark.parametrize("before", range(0, 100, 7))
def test_what_is_little_among_many_is_not_much_among_few(before: int) -> None:
    """Who is a part of a message behind is owed that part, whatever the others weigh."""
    algorithm = Weighted()
    chosen(algorithm, {"a": 98, "b": 1, "c": 1}, before)
    counts = Counter(chosen(algorithm, {"b": 1, "c": 1}, 10))
    assert min(counts["b"], counts["c"]) >= 4


@given(
    weights=several_weights,
    offers=st.lists(
        st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.integers(1, 20)), max_size=20
    ),
    messages=st.integers(1, 100),
)
def test_whatever_was_offered_before_the_shares_hold_from_the_next_message_on(
    weights: dict[str, float], offers: list[tuple[set[str], int]], messages: int
) -> None:
    algorithm = Weighted()
    for names, times in offers:
        offered = {name: weight for name, weight in weights.items() if name in names}
        chosen(algorithm, offered or weights, times)
    counts = Counter(chosen(algorithm, weights, messages))
    total = sum(weights.values())
    for name, weight in weights.items():
        assert counts[name] == pytest.approx(messages * weight / total, abs=3)


@given(
    weights=st.lists(st.integers(1, 20), min_size=2, max_size=6).map(named),
    before=st.integers(0, 100),
    away=st.integers(1, 300),
    after=st.integers(1, 100),
)
def test_one_that_is_back_has_its_share_and_nothing_of_what_it_missed(
    weights: dict[str, float], before: int, away: int, after: int
) -> None:
    algorithm = Weighted()
    chosen(algorithm, weights, before)
    chosen(algorithm, {name: weight for name, weight in weights.items() if name != "a"}, away)
    share = after * weights["a"] / sum(weights.values())
    assert chosen(algorithm, weights, after).count("a") < share + 2


@given(weights=several_weights, steps=st.lists(st.integers(0, 7), max_size=200))
def test_the_shares_hold_while_one_fails_and_messages_interleave(
    weights: dict[str, float], steps: list[int]
) -> None:
    """Up to eight messages are under way at once; each step is one attempt of one of them."""
    everything = {**weights, "failing": 3}
    algorithm = Weighted()
    under_way = [everything] * 8  # what each has left to try
    delivered: Counter[str] = Counter()
    for step in steps:
        name = choose(algorithm, under_way[step])
        if name == "failing":
            under_way[step] = weights
        else:
            under_way[step] = everything
            delivered[name] += 1
    total = sum(weights.values())
    for name, weight in weights.items():
        assert delivered[name] == pytest.approx(delivered.total() * weight / total, abs=3)


# Warm-up


def test_a_linear_warmup_adds_as_much_each_day() -> None:
    offered = [downstream("old", weight=10)]
    offered.append(downstream("new", weight=10, warmup={"from": "2026-03-01", "days": 10}))
    found = [shares(Weighted(), offered, DAY + timedelta(days))["new"] for days in (-1, 0, 4, 9, 500)]
    assert found == [0, 91, 333, 500, 500]  # of 1000: 0/10, 1/11, 5/15, 10/20


def test_an_exponential_warmup_multiplies_by_as_much_each_day() -> None:
    offered = [downstream("old", weight=99)]
    warmup = {"from": "2026-03-01", "days": 4, "curve": "exponential"}
    offered.append(downstream("new", weight=1000, warmup=warmup))
    # 1 % of the weight on the day before the first one, and then √10 times as much each day.
    weights = [0, 31.62, 100, 316.2, 1000, 1000]
    for days, weight in enumerate(weights, -1):
        found = shares(Weighted(), offered, DAY + timedelta(days))["new"]
        assert found == pytest.approx(1000 * weight / (99 + weight), abs=1)


def test_before_its_warmup_a_downstream_is_a_standby() -> None:
    alone = [downstream("new", warmup={"from": "2026-03-02", "days": 10})]
    assert Weighted().select_downstream(message(), alone) is alone[0]


def test_a_day_begins_at_midnight_utc() -> None:
    offered = [downstream("old"), downstream("new", warmup={"from": "2026-03-02", "days": 1})]
    eve = datetime.fromisoformat("2026-03-02T01:59:59+02:00")
    assert shares(Weighted(), offered, eve)["new"] == 0
    assert shares(Weighted(), offered, eve + timedelta(seconds=1))["new"] == 500


# Configuration


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(
            ({"weight": weight}, "weight must be a number from 0 to 1000000, not ")
            for weight in (-1, "3", float("nan"), float("inf"), 10**400, True, None, [1])
        ),
        ({"warmup": 30}, "warmup must be a mapping"),
        ({"warmup": {"days": 3}}, "warmup.from must be a date, as in 2026-01-31, not None"),
        (
            {"warmup": {"from": "soon", "days": 3}},
            "warmup.from must be a date, as in 2026-01-31, not 'soon'",
        ),
        ({"warmup": {"from": DAY, "days": 3}}, "warmup.from must be a date"),
        ({"warmup": {"from": "2026-03-01"}}, "warmup.days must be a whole number from 1 on, not None"),
        ({"warmup": {"from": "2026-03-01", "days": 0}}, "warmup.days must be a whole number"),
        ({"warmup": {"from": "2026-03-01", "days": True}}, "warmup.days must be a whole number"),
        ({"warmup": {"from": "2026-03-01", "days": 3, "curve": "s"}}, "warmup.curve must be linear or"),
        (
            {"warmup": {"from": "2026-03-01", "day": 3}},
            "warmup.day is not an option: it takes from, days",
        ),
    ],
)
def test_wrong_options_of_a_downstream_are_refused_with_its_name(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^downstream second: options.{says}"):
        Weighted().check_downstreams([downstream("first"), downstream("second", **options)])


def test_wrong_options_of_the_algorithm_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^mode must be smooth or random, not 'rough'$"):
        Weighted(mode="rough")
