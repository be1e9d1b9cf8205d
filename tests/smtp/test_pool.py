"""Which connection is lent, which are closed, whose turn it is: without a single socket."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtp_router.config.pool import PoolLimits
from smtp_router.config.reading import validated
from smtp_router.smtp.pool import Pool, Slot


class Bench:
    """A pool, and who opens connections for it: they are numbered."""

    def __init__(self, **limits: Any) -> None:  # noqa: ANN401 - any field of the limits
        self.pool: Pool[int, str] = Pool("a.example:25 as router", PoolLimits(**limits))
        self.now = 1000.0
        self.opened = 0
        self.slots: dict[int, Slot[int]] = {}
        self.closed: list[int] = []

    def take(self, *, fresh: bool = False, at_hand: bool = False) -> Slot[int] | None:
        """Ask for one; `at_hand`: first for what nobody has to wait for, as a keeper does."""
        found = self.pool.at_hand(self.now) if at_hand and not fresh else None
        if found is not None:
            return self.slots[found]
        slot, close = self.pool.take(self.now, fresh=fresh)
        self.closed += close
        return self.open(slot) if slot and slot.connection is None else slot

    def lend(self, *, fresh: bool = False) -> Slot[int]:
        slot = self.take(fresh=fresh)
        assert slot is not None
        return slot

    def open(self, slot: Slot[int]) -> Slot[int]:
        self.opened += 1
        slot.connection = self.opened
        self.slots[self.opened] = slot
        return slot

    def give_back(self, slot: Slot[int]) -> str | None:
        """Whose turn it is then."""
        grant, close = self.pool.give_back(slot, self.now)
        self.closed += close
        return grant.waiter if grant else None

    def expire(self) -> None:
        self.closed += self.pool.expire(self.now)


def test_a_connection_is_used_again() -> None:
    bench = Bench()
    slot = bench.lend()
    bench.give_back(slot)
    assert bench.lend() is slot
    assert slot.messages == 2
    assert bench.opened == 1


def test_one_that_is_busy_is_not_lent() -> None:
    bench = Bench()
    assert bench.lend() is not bench.lend()


def test_the_last_that_came_back_is_lent_first() -> None:
    bench = Bench()
    slots = [bench.lend() for _ in range(3)]
    for slot in (slots[1], slots[2], slots[0]):
        bench.give_back(slot)
    assert [bench.lend() for _ in range(3)] == [slots[0], slots[2], slots[1]]


def test_there_are_never_more_than_the_limit_those_being_opened_counted() -> None:
    bench = Bench(max_connections=2)
    slot, _ = bench.pool.take(bench.now)
    assert slot is not None
    assert slot.connection is None
    assert bench.take()
    assert bench.take() is None
    bench.pool.drop(slot, bench.now)
    assert bench.take()
    assert bench.take() is None


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    bench = Bench(max_connections=1)
    slot = bench.lend()
    for name in "abc":
        assert bench.take() is None
        bench.pool.wait(name)
    assert [bench.give_back(slot) for _ in range(4)] == ["a", "b", "c", None]
    assert slot.messages == 4


def test_who_asks_for_a_second_time_waits_in_front() -> None:
    bench = Bench(max_connections=1)
    slot = bench.lend()
    bench.pool.wait("a")
    bench.pool.wait("b", first=True)
    assert [bench.give_back(slot) for _ in range(2)] == ["b", "a"]


def test_who_has_left_gets_no_turn() -> None:
    bench = Bench(max_connections=1)
    slot = bench.lend()
    bench.pool.wait("a")
    bench.pool.wait("b")
    bench.pool.leave("a")
    bench.pool.leave("nobody")
    assert bench.give_back(slot) == "b"


def test_a_connection_that_is_gone_leaves_its_room_to_the_next() -> None:
    bench = Bench(max_connections=1)
    slot = bench.lend()
    bench.pool.wait("a")
    grant = bench.pool.drop(slot, bench.now)
    assert grant is not None
    assert grant.waiter == "a"
    assert grant.slot.connection is None
    assert bench.pool.drop(slot, bench.now) is None
    assert bench.take() is None


def test_an_idle_connection_that_is_gone_is_not_lent() -> None:
    bench = Bench()
    one, two = bench.lend(), bench.lend()
    bench.give_back(one)
    bench.give_back(two)
    bench.pool.drop(two, bench.now)
    assert bench.lend() is one
    assert bench.closed == []


def test_one_that_nobody_needs_is_closed() -> None:
    bench = Bench(idle_s=30)
    one, two = bench.lend(), bench.lend()
    bench.give_back(one)
    bench.now += 10
    bench.give_back(two)
    assert bench.pool.next_expiry(bench.now) == 1030
    bench.now = 1029.9
    bench.expire()
    assert bench.closed == []
    bench.now = 1030
    bench.expire()
    assert bench.closed == [1]
    assert bench.pool.next_expiry(bench.now) == 1040
    bench.now = 1040
    bench.expire()
    assert bench.closed == [1, 2]
    assert bench.pool.next_expiry(bench.now) == math.inf
    assert bench.pool.is_empty


def test_one_that_was_idle_for_too_long_is_not_lent_even_if_nobody_has_looked() -> None:
    bench = Bench(idle_s=30)
    slots = [bench.lend() for _ in range(2)]
    for slot in slots:
        bench.give_back(slot)
    bench.now += 30
    assert bench.lend() not in slots
    assert bench.closed == [1, 2]


def test_one_carries_so_many_messages_and_is_closed() -> None:
    bench = Bench(max_messages_per_connection=3)
    for _ in range(7):
        bench.give_back(bench.lend())
    assert bench.opened == 3
    assert bench.closed == [1, 2]


def test_one_message_per_connection_keeps_none() -> None:
    bench = Bench(max_messages_per_connection=1)
    bench.give_back(bench.lend())
    assert bench.closed == [1]
    assert bench.pool.is_empty


def test_a_worn_connection_leaves_its_room_to_who_waits() -> None:
    bench = Bench(max_connections=1, max_messages_per_connection=1)
    slot = bench.lend()
    bench.pool.wait("a")
    grant, close = bench.pool.give_back(slot, bench.now)
    assert grant is not None
    assert (grant.waiter, grant.slot.connection, close) == ("a", None, (1,))


def test_one_grows_so_old_and_is_closed_when_it_comes_back_or_is_idle() -> None:
    bench = Bench(max_connection_age_s=600, idle_s=30)
    one, two = bench.lend(), bench.lend()
    assert bench.pool.next_expiry(bench.now) == 1600  # whenever they come back
    bench.now += 590
    bench.give_back(one)
    assert bench.pool.next_expiry(bench.now) == 1600
    bench.now += 10
    bench.give_back(two)
    assert bench.closed == [2]
    bench.expire()
    assert bench.closed == [2, 1]


def test_the_one_at_hand_is_the_one_that_would_be_lent() -> None:
    bench = Bench(idle_s=30)
    assert bench.pool.at_hand(bench.now) is None
    slots = [bench.lend() for _ in range(2)]
    for slot in slots:
        bench.give_back(slot)
    assert bench.pool.at_hand(bench.now + 29) == slots[1].connection
    assert slots[1].messages == 2
    assert bench.pool.at_hand(bench.now + 30) is None
    assert bench.lend() is slots[0]


def test_a_fresh_one_is_not_one_that_is_idle() -> None:
    bench = Bench(max_connections=2)
    idle = bench.lend()
    bench.give_back(idle)
    assert bench.lend(fresh=True) is not idle
    assert bench.closed == []


def test_a_fresh_one_takes_the_room_of_one_that_is_idle() -> None:
    bench = Bench(max_connections=2)
    slots = [bench.lend() for _ in range(2)]
    for slot in slots:
        bench.give_back(slot)
    assert bench.lend(fresh=True).connection == 3
    assert bench.closed == [1]
    assert bench.lend() is slots[1]


def test_where_all_are_busy_a_fresh_one_is_waited_for() -> None:
    bench = Bench(max_connections=1)
    bench.lend()
    assert bench.take(fresh=True) is None


def test_the_longest_idle_can_be_evicted() -> None:
    bench = Bench()
    assert bench.pool.idle_since == math.inf
    assert bench.pool.evict() == []
    slots = [bench.lend() for _ in range(2)]
    for slot in slots:
        bench.now += 1
        bench.give_back(slot)
    assert bench.pool.idle_since == 1001
    assert bench.pool.evict() == [1]
    assert bench.pool.idle_since == 1002


def test_a_retired_pool_keeps_nothing_and_still_serves() -> None:
    bench = Bench()
    busy, idle = bench.lend(), bench.lend()
    bench.give_back(idle)
    assert bench.pool.retire() == [2]
    bench.give_back(busy)
    assert bench.closed == [1]
    assert bench.pool.is_empty
    bench.give_back(bench.lend())
    assert bench.closed == [1, 3]


def test_its_repr_says_what_there_is() -> None:
    bench = Bench(max_connections=3, idle_s=30)
    assert repr(bench.pool) == (
        "<Pool a.example:25 as router: 0 busy, 0 idle, 0 opening of 3, 0 waiting>"
    )
    bench.lend()
    bench.give_back(bench.lend())
    bench.pool.take(bench.now, fresh=True)
    assert repr(bench.pool) == (
        "<Pool a.example:25 as router: 1 busy, 1 idle, 1 opening of 3, 0 waiting>"
    )
    bench.lend()
    bench.pool.wait("a")
    assert repr(bench.pool) == (
        "<Pool a.example:25 as router: 2 busy, 0 idle, 1 opening of 3, 1 waiting>"
    )
    bench.pool.retire()
    assert repr(bench.pool).endswith("1 waiting, retired>")


class Usage(RuleBasedStateMachine):
    """Whatever is done in whatever order: nothing is lost, lent twice, or beyond the limits."""

    LIMIT, MESSAGES, IDLE_S, AGE_S = 3, 4, 30, 100

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            max_connections=self.LIMIT,
            max_messages_per_connection=self.MESSAGES,
            idle_s=self.IDLE_S,
            max_connection_age_s=self.AGE_S,
        )
        self.lent: list[Slot[int]] = []
        self.waiting: list[str] = []
        self.gone: set[int] = set()
        self.names = map(str, itertools.count())

    def _served(self, waiter: str, slot: Slot[int]) -> None:
        assert waiter == self.waiting.pop(0)
        if slot.connection is None:
            self.bench.open(slot)
        self.lent.append(slot)

    @rule(fresh=st.booleans(), at_hand=st.booleans())
    def take(self, *, fresh: bool, at_hand: bool) -> None:
        slot = self.bench.take(fresh=fresh, at_hand=at_hand)
        if slot is not None:
            assert slot not in self.lent
            assert not self.waiting  # nobody overtakes
            self.lent.append(slot)
        else:
            assert len(self.lent) == self.LIMIT
            name = next(self.names)
            self.bench.pool.wait(name, first=fresh)
            self.waiting.insert(0 if fresh else len(self.waiting), name)

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        slot = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        grant, close = self.bench.pool.give_back(slot, self.bench.now)
        self.bench.closed += close
        if grant is not None:
            self._served(grant.waiter, grant.slot)

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        slot = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        assert slot.connection is not None
        self.gone.add(slot.connection)
        grant = self.bench.pool.drop(slot, self.bench.now)
        if grant is not None:
            self._served(grant.waiter, grant.slot)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.bench.pool.leave(self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))))

    @rule(seconds=st.sampled_from([1, 10, 30, 100]))
    def wait(self, seconds: int) -> None:
        self.bench.now += seconds

    @rule()
    def expire(self) -> None:
        self.bench.expire()
        assert self.bench.pool.next_expiry(self.bench.now) > self.bench.now

    @rule()
    def evict(self) -> None:
        self.bench.closed += self.bench.pool.evict()

    @invariant()
    def nothing_is_lost_or_lent_twice(self) -> None:
        lent = [slot.connection for slot in self.lent]
        assert None not in lent
        assert len(set(lent)) == len(lent) <= self.LIMIT
        closed = self.bench.closed
        assert len(set(closed)) == len(closed)
        assert not (set(closed) | self.gone) & set(lent)
        idle = self.bench.opened - len(closed) - len(self.gone) - len(lent)
        assert idle >= 0
        assert f"{len(lent)} busy, {idle} idle, 0 opening" in repr(self.bench.pool)
        assert all(slot.messages <= self.MESSAGES for slot in self.lent)
        if self.waiting:
            assert len(lent) == self.LIMIT


TestAnyUsage = Usage.TestCase


@pytest.mark.parametrize("seconds", [0, -1])
def test_limits_are_positive(seconds: int) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        validated(PoolLimits, {"idle_s": seconds})
