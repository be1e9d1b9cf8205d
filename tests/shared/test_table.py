"""Records in shared memory: exact, as the windows of one process are, and bounded."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.window import Window
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.table import IN_A_SET, Span, Table, key_of
from smtp_router.shared.together import Plan, Together
from tests.running import environment

KEY = key_of("limit", "one")


def tables(workers: int = 2, sets: int = 1) -> tuple[SharedMemory, list[Table]]:
    memory = SharedMemory.create(Table.size(sets=sets, workers=workers, windows=3))
    return memory, [
        Table(memory, at=0, sets=sets, workers=workers, windows=3, worker=worker)
        for worker in range(workers)
    ]


@pytest.fixture
def two() -> Iterator[list[Table]]:
    memory, made = tables()
    yield made
    memory.close()


@given(
    seconds=st.sampled_from([1.0, 60.0, 7.5]),
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.booleans()), max_size=60),
)
def test_a_window_in_shared_memory_is_a_window(
    seconds: float, limit: int, steps: list[tuple[float, bool, bool]]
) -> None:
    memory, made = tables()
    twin, now, taken = Window(seconds), 1000.0, list[tuple[int, float]]()
    span = Span(1, seconds, limit)
    try:
        for later, second, gives_back in steps:
            now += later
            table = made[second]
            assert table.opens_at(KEY, [span], now) == twin.opens_at(now, limit)
            has_room = twin.opens_at(now, limit) <= now
            parts = table.take(KEY, [span], now)
            assert (parts is not None) == has_room
            if parts is not None:
                twin.add(now)
                taken.append((parts[0], now))
            if gives_back and taken:
                part, then = taken.pop()
                table.take_back(KEY, span, part)
                twin.take_back(then)
            assert table.counted(KEY, span, now) == twin.total(now)
    finally:
        memory.close()


def test_all_windows_have_room_or_none_is_counted(two: list[Table]) -> None:
    wide, narrow = Span(0, 1, 5), Span(1, 60, 1)
    assert two[0].take(KEY, [wide, narrow], 100.0) is not None
    assert two[1].take(KEY, [wide, narrow], 100.0) is None
    assert two[1].counted(KEY, wide, 100.0) == 1


def test_what_a_dead_worker_held_is_free_and_what_it_sent_counts(two: list[Table]) -> None:
    span = Span(0, 60, 9)
    for _ in range(2):
        assert two[0].take(KEY, [span], 1.0, at_once=3, hold=True) is not None
    assert two[1].take(KEY, [span], 1.0, at_once=3, hold=True) is not None
    assert two[1].take(KEY, [span], 1.0, at_once=3, hold=True) is None
    two[1].free(0)
    assert two[1].held(KEY) == 1
    assert two[1].counted(KEY, span, 1.0) == 3


def test_a_full_set_forgets_what_nobody_needs(two: list[Table]) -> None:
    two[0].hold(KEY, 1, 0.0)
    for number in range(5 * IN_A_SET):
        two[0].take(key_of("address", str(number)), [Span(0, 1, 1)], float(number))
    assert two[0].held(KEY) == 1
    assert two[0].take(key_of("address", str(5 * IN_A_SET - 1)), [Span(0, 1, 1)], 319.5) is None


def test_what_has_taken_a_records_place_is_not_taken_for_it(two: list[Table]) -> None:
    assert two[1].take(KEY, [Span(0, 1, 1)], 0.0) is not None
    assert two[1].opens_at(KEY, [Span(0, 1, 1)], 0.0) > 0.0
    for number in range(IN_A_SET):
        two[0].hold(key_of("address", str(number)), 1, 9.0)
    assert two[1].held(KEY) == 0
    assert two[1].opens_at(KEY, [], 9.0, at_once=1) == 9.0


TRIES = """
import fcntl, sys
try:
    fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
except BlockingIOError:
    sys.exit(7)
"""


class Watched(Table):
    """One that another process tries to take the lock of, while it is looked into."""

    def _held(self, record: int) -> int:
        command = [sys.executable, "-c", TRIES, str(self._memory.descriptor)]
        done = subprocess.run(command, pass_fds=[self._memory.descriptor], check=False)  # noqa: S603
        assert done.returncode == 7
        return super()._held(record)


def test_nobody_else_is_there_while_a_place_is_taken() -> None:
    memory = SharedMemory.create(Table.size(sets=1, workers=2, windows=3))
    table = Watched(memory, at=0, sets=1, workers=2, windows=3, worker=0)
    assert table.take(KEY, [], 1.0, at_once=1, hold=True) is not None
    assert table.hold(key_of("limit", "two"), 3, 1.0) == 3
    memory.close()


def test_what_is_held_is_what_each_has_said_last(two: list[Table]) -> None:
    said = [0, 0]
    for which, count in ((0, 2), (1, 1), (0, 3), (0, 0), (1, 4), (1, 0), (0, 1)):
        said[which] = count
        assert two[which].hold(KEY, count, 1.0) == sum(said)


def test_a_window_in_which_nobody_ever_counted_is_empty(two: list[Table]) -> None:
    span = Span(0, 1, 9)
    assert not two[1].may_count(KEY, 0)
    assert two[0].take(KEY, [span], 5.0) is not None
    assert two[1].may_count(KEY, 0)
    two[0].take_back(KEY, span)
    assert not two[1].may_count(KEY, 0)


TAKES = """
import sys
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.table import Span, key_of
from smtp_router.shared.together import Plan, Together
worker, descriptor = int(sys.argv[1]), int(sys.argv[2])
plan = Plan.of(2, 1)
names = Together(SharedMemory(descriptor, plan.words), plan, worker).names
print("ready", flush=True)
sys.stdin.read()  # until both are there
key = key_of("limit", "one")
spans = [Span(0, 3600, 5000)]
print(sum(names.take(key, spans, 5.0, at_once=10_000, hold=True) is not None for _ in range(6000)))
"""


def test_two_processes_take_no_more_than_there_is() -> None:
    plan = Plan.of(2, 1)
    memory = SharedMemory.create(plan.words)
    processes = [
        subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-c", TAKES, str(worker), str(memory.descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[memory.descriptor],
            env=environment(),
        )
        for worker in range(2)
    ]
    assert [process.stdout.readline() for process in processes if process.stdout] == 2 * [b"ready\n"]
    for process in processes:
        assert process.stdin
        process.stdin.close()
    counts = [int(process.stdout.read()) for process in processes if process.stdout]
    for process in processes:
        assert process.wait(20) == 0
        assert process.stdout
        process.stdout.close()
    assert sum(counts) == 5000
    assert min(counts) > 0
    assert Together(memory, plan, 0).names.held(KEY) == 5000
    memory.close()
