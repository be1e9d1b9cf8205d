from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Downstream
from smtp_router.testing import assert_share, conformance, make_downstream
from smtp_router_round_robin import RoundRobin

test_conformance = conformance(RoundRobin)


def downstreams(names: str) -> tuple[Downstream, ...]:
    """One downstream for each letter."""
    return tuple(make_downstream(name) for name in names)


def choose(algorithm: RoundRobin, names: str) -> str:
    return algorithm.select_downstream(downstreams(names)).name


def spread(counts: Counter[str], names: str) -> int:
    numbers = [counts[name] for name in names]
    return max(numbers) - min(numbers)


def test_the_first_round_is_in_the_order_of_the_configuration() -> None:
    algorithm = RoundRobin()
    assert [choose(algorithm, "abc") for _ in "abc"] == ["a", "b", "c"]


def test_each_round_repeats_the_first() -> None:
    algorithm = RoundRobin()
    assert "".join(choose(algorithm, "abc") for _ in range(9)) == "abcabcabc"


def test_each_of_100_downstreams_has_its_turns() -> None:
    shares = {str(number): 0.01 for number in range(100)}
    assert_share(RoundRobin, shares, messages=1050, within=0.5)


def test_what_is_chosen_is_one_of_those_offered() -> None:
    offered = downstreams("abc")
    assert RoundRobin().select_downstream(offered) is offered[0]


def test_the_turn_of_a_failed_downstream_goes_to_the_one_that_waited_longest() -> None:
    algorithm = RoundRobin()
    assert choose(algorithm, "abc") == "a"
    assert choose(algorithm, "abc") == "b"  # fails, so the same message is asked about again:
    assert choose(algorithm, "ac") == "c"
    assert choose(algorithm, "abc") == "a"


def test_two_instances_count_apart() -> None:
    first, second = RoundRobin(), RoundRobin()
    assert choose(first, "ab") == "a"
    assert choose(second, "ab") == "a"


def test_a_downstream_that_is_added_is_next_once() -> None:
    algorithm = RoundRobin()
    for _ in range(10):
        choose(algorithm, "ab")
    assert "".join(choose(algorithm, "abc") for _ in range(6)) == "cabcab"


def test_a_downstream_that_is_back_is_next_once_and_does_not_catch_up() -> None:
    algorithm = RoundRobin()
    for _ in range(3):
        choose(algorithm, "abc")
    for _ in range(10):
        choose(algorithm, "ab")
    assert "".join(choose(algorithm, "abc") for _ in range(6)) == "cabcab"


def test_a_downstream_that_is_removed_leaves_the_turns_of_the_others() -> None:
    algorithm = RoundRobin()
    assert "".join(choose(algorithm, "abc") for _ in range(4)) == "abca"
    assert "".join(choose(algorithm, "ac") for _ in range(4)) == "caca"


def test_the_order_of_the_list_changes_nobodys_turn() -> None:
    algorithm = RoundRobin()
    assert choose(algorithm, "abc") == "a"
    assert choose(algorithm, "cba") == "c"
    assert choose(algorithm, "abc") == "b"


@given(
    healthy=st.integers(min_value=1, max_value=5),
    failing=st.integers(min_value=0, max_value=2),
    steps=st.lists(st.integers(min_value=0, max_value=7), max_size=200),
)
def test_counts_differ_by_at_most_one_however_concurrent_messages_interleave(
    healthy: int, failing: int, steps: list[int]
) -> None:
    """Up to eight messages are under way at once; each step is one attempt of one of them.

    A message whose downstream fails is asked about again with what it has not yet tried, at any
    later step, and gives way to the next message when it is delivered.
    """
    working = "abcde"[:healthy]
    everything = working + "xy"[:failing]
    algorithm = RoundRobin()
    under_way = [everything] * 8  # what each has left to try
    delivered: Counter[str] = Counter()
    for message in steps:
        name = choose(algorithm, under_way[message])
        if name in working:
            delivered[name] += 1
            under_way[message] = everything
        else:
            under_way[message] = under_way[message].replace(name, "")
        assert spread(delivered, working) <= 1


@given(
    rounds=st.lists(
        st.tuples(st.sets(st.sampled_from("abcde"), min_size=1), st.integers(1, 20)), max_size=20
    )
)
def test_counts_differ_by_at_most_one_while_the_same_downstreams_are_offered(
    rounds: list[tuple[set[str], int]],
) -> None:
    algorithm = RoundRobin()
    for offered, messages in rounds:
        names = "".join(sorted(offered))
        counts = Counter(choose(algorithm, names) for _ in range(messages))
        assert spread(counts, names) <= 1
