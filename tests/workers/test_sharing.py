"""What workers count together and tell each other: two of them in one process."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smtp_router.config.crew_size import crew_size, indivisible
from smtp_router.config.limits import Limits
from smtp_router.config.load import load, parse
from smtp_router.config.settings import Settings
from smtp_router.config.types import Rate
from smtp_router.core.breaker import Rules
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.shared_limits import SharedMeter, SharedTurns
from smtp_router.routing.targets import Targets
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.together import Plan, Together
from smtp_router.smtp.guard import BUSY, LOCKED_OUT
from smtp_router.smtp.shared_guard import SharedGuard
from smtp_router.state.doubts import DoubtBook, Kind
from smtp_router.state.file import StateFile
from tests.running import environment, one_user
from tests.support import VirtualClock, config_text, make_message

PLAN = Plan.of(2, 10)
FILE = 3


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    made = SharedMemory.create(PLAN.words)
    yield made
    made.close()


@pytest.fixture
def both(memory: SharedMemory) -> list[Together]:
    return [Together(memory, PLAN, worker) for worker in range(2)]


def guards(both: list[Together], clock: VirtualClock, **limits: int) -> list[SharedGuard]:
    settings = replace(Settings(users=()), **limits)  # type: ignore[arg-type]  # any of them
    return [
        SharedGuard(settings, clock, max_files=9000, together=together, workers=2) for together in both
    ]


# Clients


def test_connections_are_counted_at_both(both: list[Together]) -> None:
    one, other = guards(both, VirtualClock(), max_connections=4, max_connections_per_address=2)
    assert [guard.connected("::1", FILE) for guard in (one, other, one)] == [None, None, BUSY]
    one.disconnected("::1")
    one.disconnected("::1")
    assert other.connected("::1", FILE) is None
    assert [one.connected(f"::{number}", FILE) for number in (2, 3, 4)] == [None, None, BUSY]
    both[0].free(1)  # the other has died
    assert one.connected("::5", FILE) is None


def test_limits_at_both_change_with_a_reload(both: list[Together]) -> None:
    made = guards(both, VirtualClock(), max_connections=1, max_memory_bytes=10)
    one, other = made
    other.hold(11)
    assert [one.connected("a", FILE), other.connected("b", FILE), one.is_full()] == [None, BUSY, True]
    for guard in made:
        guard.follow(Settings(users=(), max_connections=3, max_memory_bytes=11))
    assert [one.connected("c", FILE), other.connected("d", FILE), one.is_full()] == [None, BUSY, False]


def test_sessions_of_a_user_are_counted_at_both(both: list[Together]) -> None:
    one, other = guards(both, VirtualClock())
    assert [guard.logged_in("u", 2) for guard in (one, other, one)] == [None, None, BUSY]
    one.logged_out("u")
    one.logged_out("u")
    assert other.logged_in("u", 2) is None


def test_content_is_counted_at_both(both: list[Together]) -> None:
    one, other = guards(both, VirtualClock(), max_memory_bytes=10)
    one.hold(6)
    other.hold(5)
    assert one.is_full()
    other.hold(-5)
    assert not one.is_full()


def test_failed_logins_are_counted_at_both_until_the_window_is_over(both: list[Together]) -> None:
    clock = VirtualClock()
    one, other = guards(both, clock, auth_failures=1, auth_window_s=600)
    assert one.login_begins("a") is None
    assert other.has_failed("a")
    one.login_succeeded("a")
    assert not other.has_failed("a")
    assert [guard.login_begins("a") for guard in (one, other, one)] == [None, None, LOCKED_OUT]
    assert other.delay_s("a") == 1
    clock.advance(600 * 66 / 64)
    assert other.login_begins("a") is None


# What is sent


def test_a_place_that_both_want_is_one_workers(both: list[Together]) -> None:
    one, other = (SharedMeter(together.names, "x") for together in both)
    limits = Limits(concurrency=1, per_minute=2)
    for meter in (one, other):
        meter.watch(limits)
        assert meter.room(limits, 5.0)
    parts = one.take(limits, 5.0)
    assert parts is not None
    assert other.take(limits, 5.0) is None
    assert not one.room(limits, 5.0)
    assert not other.room(limits, 5.0)
    assert other.in_flight == 1
    one.give_back(parts, 5.0)
    one.leave()
    for meter in (other, one):
        parts = meter.take(limits, 5.0)
        assert parts is not None
        meter.leave()
    assert [seconds for seconds, _, opens in other.windows(limits, 5.0) if opens > 5.0] == [60.0]


def test_a_limit_that_a_reload_brings_counts_from_then_on(both: list[Together]) -> None:
    one, other = (SharedMeter(together.names, "x") for together in both)
    before, after = Limits(per_second=9), Limits(per_second=9, per_hour=2)
    for meter in (one, other):
        meter.watch(before)
        assert meter.take(before, 5.0)
    for meter in (one, other):
        meter.watch(after)
        assert meter.take(before, 5.0)  # of another who has no limit by the hour
    assert one.take(after, 5.0) is None
    assert one.take(before, 5.0)


def test_what_one_worker_has_begun_the_other_sees_before_each_message(
    both: list[Together], tmp_path: Path
) -> None:
    limits = {"concurrency": 1}
    (tmp_path / "config.yaml").write_text(
        config_text(downstreams={"a": {"addr": "a.example:25", "limits": limits}})
    )
    settings = load(tmp_path / "config.yaml").settings
    (user,) = settings.users
    one, other = (
        Targets(names=together.names).make(user.email, user.downstreams[0], settings)
        for together in both
    )
    assert one.offered(5.0)
    for _ in range(3):
        passage = other.begin(5.0)
        assert passage is not None
        assert one.offered(5.0) is None
        passage.leave()
        assert one.offered(5.0)


@pytest.mark.parametrize("other_has_line", [False, True])
def test_who_waits_is_told_at_once_unless_others_have_a_line_too(
    both: list[Together],
    other_has_line: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    one, other = (SharedMeter(together.names, "x") for together in both)
    parts, mine = one.take(Limits(concurrency=1), 5.0), asyncio.Event()
    assert parts is not None
    one.wait(mine)
    if other_has_line:
        other.wait(asyncio.Event())
    one.leave()
    assert mine.is_set() is not other_has_line


def test_a_users_rate_is_that_of_both(both: list[Together]) -> None:
    clock = VirtualClock()
    one, other = (SharedTurns(clock, together.names) for together in both)
    rate = Rate(count=2, seconds=60)
    assert [turns.take("u", rate) for turns in (one, other, one)] == [True, True, False]
    assert one.take("u", None)
    clock.advance(62)
    assert other.take("u", rate)


def test_a_rest_that_a_neighbour_tells_of_is_kept_and_ends_as_ones_own() -> None:
    rules = Rules(rest_s=4, max_rest_s=100)
    circuit = Circuit(60)
    entry = circuit.enter(0)
    assert circuit.hear(10.0, 2, "down", 1.0)
    assert not circuit.hear(9.0, 1, "down", 1.0)
    assert circuit.is_resting(9.9)
    assert not circuit.is_resting(10.0)
    assert not circuit.failed(entry, 10.0, rules, lambda: 0.0)  # from before
    trial = circuit.enter(10.0)
    assert circuit.failed(trial, 10.0, rules, lambda: 0.0)
    assert circuit.breaker.until == 10.0 + 4 * 2**2
    assert not circuit.hear(11.0, 9, "old news", 12.0)


# What is in doubt


def doubtful(folder: Path, clock: VirtualClock) -> list[Doubts]:
    def tells(number: int) -> Any:  # noqa: ANN401 - a callback
        def tell(news: Mapping[str, Any]) -> None:
            made[1 - number].hear(json.loads(json.dumps(news)), number)

        return tell

    state = StateFile(folder / "state.db")
    made = [Doubts(clock, DoubtBook(state), (), tells(number)) for number in range(2)]
    return made


async def test_a_delivery_that_nobody_heard_of_is_answered_once_by_either(tmp_path: Path) -> None:
    one, other = doubtful(tmp_path, VirtualClock())
    one.unheard(make_message(id="1"), for_s=60)
    await one.close()
    assert other.may_know(make_message())
    mine, its = await one.find(make_message()), await other.find(make_message())
    assert mine is not None
    assert its is not None
    assert (its.id, its.kind) == ("1", Kind.UNHEARD)
    assert its.kind is mine.kind
    assert [await other.take(its), await one.take(mine)] == [True, False]


async def test_a_message_whose_client_has_gone_is_waited_for_by_the_neighbour(tmp_path: Path) -> None:
    one, other = doubtful(tmp_path, VirtualClock())
    message = make_message(id="1")
    one.left(message)
    while not other.may_know(make_message(id="2")):  # noqa: ASYNC110 - bounded by the test's time
        await asyncio.sleep(0)
    waits = asyncio.ensure_future(other.find(make_message(id="2")))
    await asyncio.sleep(0)
    assert not waits.done()
    one.ended(message)
    for _ in range(10):  # the session notices later
        await asyncio.sleep(0)
    one.unheard(message, for_s=60)
    doubt = await waits
    assert doubt is not None
    assert doubt.id == "1"
    await one.close()


async def test_a_message_of_a_neighbour_that_has_died_is_not_waited_for(tmp_path: Path) -> None:
    one, other = doubtful(tmp_path, VirtualClock())
    one.left(make_message(id="1"))
    while not other.may_know(make_message(id="2")):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    waits = asyncio.ensure_future(other.find(make_message(id="2")))
    await asyncio.sleep(0)
    other.lost(0)
    assert await waits is None
    assert not other.may_know(make_message(id="2"))


# What they have in common


WRITES = """
import sys
from smtp_router.shared.memory import SharedMemory
from smtp_router.workers.untorn import untorn
letter, descriptor, words = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
stream = untorn(2, SharedMemory(descriptor, words))
print("ready", flush=True)
sys.stdin.read()  # until both are there
for _ in range(20):
    stream.write(300_000 * letter + "\\n")
"""


def test_lines_of_several_writers_are_not_torn(memory: SharedMemory) -> None:
    """Each more than a pipe holds, from two processes."""
    reading, writing = os.pipe()
    processes = [
        subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-c", WRITES, letter, str(memory.descriptor), str(PLAN.words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=writing,
            pass_fds=[memory.descriptor],
            env=environment(),
        )
        for letter in "ab"
    ]
    os.close(writing)
    assert [process.stdout.readline() for process in processes if process.stdout] == 2 * [b"ready\n"]
    for process in processes:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.stdout.close()
    with os.fdopen(reading) as stream:
        lines = stream.read().splitlines()
    assert [process.wait(20) for process in processes] == [0, 0]
    assert sorted(lines) == 20 * [300_000 * "a"] + 20 * [300_000 * "b"]


def test_there_are_as_many_workers_as_cores_but_none_without_a_connection(tmp_path: Path) -> None:
    def size(workers: int | str, connections: int = 20) -> tuple[int, int]:
        its = {"addr": "b.example:25", "pool": {"max_connections": connections}}
        loaded = parse(str(one_user(its) | {"workers": workers}).encode(), tmp_path / "c.yaml")
        found = crew_size(loaded, 8)
        return found, len(indivisible(loaded, found))

    assert size("auto") == (8, 0)
    assert size("auto", 3) == (3, 0)
    assert size(3, 3) == (3, 0)
    assert size(4, 3) == (4, 1)
    assert size(1, 1) == (1, 0)
