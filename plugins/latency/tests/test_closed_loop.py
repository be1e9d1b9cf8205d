"""Downstreams that get slower the more they have to do, and clients that send to them, in virtual time.

Each client sends a message, waits until it is delivered, thinks, and sends the next: a closed loop.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from smtp_router import Attempt, Deferred, Delivered, Downstream, Health, Message, Outcome, Stage
from smtp_router.testing import VirtualClock, make_attempt, make_downstream, make_message
from smtp_router_latency import Latency

SEEDS = [1, 2, 3]
MESSAGE = make_message()


class Algorithm(Protocol):
    """What is tried out."""

    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream: ...

    def after_send(self, message: Message, attempt: Attempt) -> None: ...


@dataclass(slots=True)
class Server:
    """Takes `base_s` for a message while it has `at_once` or less; with twice that, twice as long."""

    name: str
    base_s: float = 0.1
    at_once: int = 10
    outcome: Outcome = field(default_factory=Delivered)
    in_flight: int = 0
    most_in_flight: int = 0

    def offered(self) -> Downstream:
        return make_downstream(self.name, health=Health(in_flight=self.in_flight))

    def begin(self, draw: float) -> float:
        """How long this one takes."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return self.base_s * max(1, self.in_flight / self.at_once) * (0.5 + draw)


def run(
    algorithm: Algorithm,
    clock: VirtualClock,
    servers: Sequence[Server],
    *,
    messages: int,
    clients: int = 10,
    think_s: float = 0.1,
    seed: int = 1,
    before_each: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Send so many messages.

    Returns:
        Which downstream each was sent to.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation
    order = itertools.count()
    by_name = {server.name: server for server in servers}
    events: list[tuple[float, int, Callable[[], None]]] = []
    chosen: list[str] = []

    def at(seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(events, (clock.now() + seconds, next(order), what))

    def send() -> None:
        if len(chosen) == messages:
            return
        before_each(len(chosen))
        downstream = algorithm.select_downstream(MESSAGE, tuple(server.offered() for server in servers))
        chosen.append(downstream.name)
        server = by_name[downstream.name]
        seconds = server.begin(rng.random())

        def end() -> None:
            server.in_flight -= 1
            attempt = make_attempt(downstream, server.outcome, seconds=seconds)
            algorithm.after_send(MESSAGE, attempt)
            at(think_s * 2 * rng.random(), send)

        at(seconds, end)

    for _ in range(clients):
        at(rng.random() * think_s, send)
    while events:
        when, _, what = heapq.heappop(events)
        clock.advance(when - clock.now())
        what()
    return chosen


def made(clock: VirtualClock, seed: int = 1, **options: float) -> Latency:
    return Latency(random.Random(seed), clock, **options)  # noqa: S311 - shares, no secret


class Fastest:
    """What this algorithm is not: everything goes to the best average."""

    def __init__(self) -> None:
        self.averages: dict[str, float] = {}

    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        del message
        return min(downstreams, key=lambda one: self.averages.get(one.name, 0))

    def after_send(self, message: Message, attempt: Attempt) -> None:
        del message
        name = attempt.downstream.name
        self.averages[name] = 0.8 * self.averages.get(name, attempt.seconds) + 0.2 * attempt.seconds


def herd(algorithm: Algorithm, clock: VirtualClock, seed: int) -> tuple[Counter[str], int, int]:
    """80 clients and four downstreams that are equal, each of which slows down above ten at once.

    Returns:
        How many messages each had; the most it had of 40 in a row; the most it had at once.
    """
    servers = [Server(name) for name in "abcd"]
    sent = run(algorithm, clock, servers, messages=4000, clients=80, seed=seed)
    in_a_row = max(max(Counter(sent[at : at + 40]).values()) for at in range(0, 4000, 40))
    return Counter(sent), in_a_row, max(server.most_in_flight for server in servers)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_share_evenly_and_nobody_is_ever_run_over(seed: int) -> None:
    clock = VirtualClock()
    sent, in_a_row, at_once = herd(made(clock, seed), clock, seed)
    assert all(count == pytest.approx(1000, rel=0.05) for count in sent.values())
    assert in_a_row <= 20
    assert at_once <= 25  # with 80 clients and four downstreams, 20 would be even


def test_who_always_takes_the_fastest_runs_it_over() -> None:
    """So the test above can fail."""
    clock = VirtualClock()
    _, in_a_row, at_once = herd(Fastest(), clock, 1)
    assert in_a_row == 40
    assert at_once > 70


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_ten_times_as_fast_has_nearly_all_of_the_mail(seed: int) -> None:
    clock = VirtualClock()
    servers = [Server("slow", base_s=1, at_once=100), Server("fast", base_s=0.1, at_once=100)]
    sent = Counter(run(made(clock, seed), clock, servers, messages=5000, clients=40, seed=seed))
    assert sent["fast"] > 4750


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_fast_but_full_leaves_mail_to_what_is_slow(seed: int) -> None:
    clock = VirtualClock()
    servers = [Server("slow", base_s=0.2, at_once=100), Server("fast", base_s=0.1, at_once=5)]
    sent = Counter(run(made(clock, seed), clock, servers, messages=5000, clients=60, seed=seed))
    assert 0.3 < sent["slow"] / 5000 < 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_mail_leaves_what_becomes_slow_and_is_back_when_it_is_well(seed: int) -> None:
    clock = VirtualClock()
    servers = [Server(name) for name in "abc"]

    def change(number: int) -> None:
        servers[0].base_s = 5 if 2000 <= number < 6000 else 0.1

    sent = run(
        made(clock, seed), clock, servers, messages=10_000, clients=20, seed=seed, before_each=change
    )
    shares = [Counter(sent[at : at + 200])["a"] for at in range(0, 10_000, 200)]
    assert all(50 < share < 85 for share in shares[1:10])
    assert shares[10] <= 15  # of the first 200 of that time
    assert all(share <= 5 for share in shares[11:30])
    assert all(50 < share < 85 for share in shares[34:])  # 800 messages later


@pytest.mark.parametrize("seed", SEEDS)
def test_what_hangs_holds_no_more_messages_than_the_others_have(seed: int) -> None:
    clock = VirtualClock()
    servers = [Server(name) for name in "abc"]

    def change(number: int) -> None:
        servers[0].base_s = 10_000 if number >= 1000 else 0.1

    run(made(clock, seed), clock, servers, messages=4000, clients=60, seed=seed, before_each=change)
    assert servers[0].most_in_flight <= 20  # of 60 clients


@pytest.mark.parametrize("seed", SEEDS)
def test_what_fails_at_once_has_hardly_any_mail(seed: int) -> None:
    clock = VirtualClock()
    bad = Server("bad", base_s=0.001, outcome=Deferred(stage=Stage.MAIL))
    servers = [bad, Server("good", base_s=1, at_once=100)]
    sent = Counter(run(made(clock, seed), clock, servers, messages=2000, clients=5, seed=seed))
    assert sent["bad"] / 2000 < 0.15  # exploring, and when five are under way at the other one


@pytest.mark.parametrize("others", [1, 2, 5])
def test_the_share_that_explores_is_as_stated_and_spread_over_the_slower_ones(others: int) -> None:
    clock = VirtualClock()
    slow = [Server(str(number), base_s=3) for number in range(others)]
    servers = [Server("fast"), *slow]
    sent = run(made(clock, explore=0.1), clock, servers, messages=20_000, clients=1)
    shares = Counter(sent[1000:])
    measured = [shares[server.name] / 19_000 for server in slow]
    if others == 1:
        assert measured == [pytest.approx(0.1, abs=0.01)]
    else:  # two slow ones are drawn together at times
        assert min(measured) > 0.1 / others * 0.8


def test_the_same_seed_chooses_the_same() -> None:
    def chosen(seed: int) -> list[str]:
        clock = VirtualClock()
        return run(made(clock, seed), clock, [Server("a"), Server("b")], messages=200)

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
