"""Who holds the event loop is named, while it is held."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from smtp_router.hooks.call import HookCall
from smtp_router.hooks.watch import LoopWatch


class Lines(logging.Handler):
    """Keeps what is logged, and says so to other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.has_come = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.has_come.set()


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("smtp_router.hooks.watch")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def called(function: Callable[[], object]) -> HookCall:
    return HookCall(plugin="slow", hook="select_downstream", function=function, arguments=())


async def test_a_plugin_that_holds_the_loop_is_named_with_its_stack(lines: Lines) -> None:
    def waits_for_the_line() -> None:
        assert lines.has_come.wait(10)

    watch = LoopWatch(slow_s=0.02)
    watch.start()
    try:
        await called(waits_for_the_line)((), 5.0)
        assert watch.is_held
    finally:
        watch.stop()
    (record,) = lines.records
    fields = vars(record)["fields"]
    assert (record.getMessage(), fields["plugin"], fields["hook"]) == (
        "event loop held",
        "slow",
        "select_downstream",
    )
    assert "waits_for_the_line" in fields["stack"]
    assert fields["seconds"] >= 0.02


async def test_what_holds_it_without_being_a_plugin_is_told_by_its_stack(lines: Lines) -> None:
    watch = LoopWatch(slow_s=0.02)
    watch.start()
    try:
        assert lines.has_come.wait(10)
    finally:
        watch.stop()
    fields = vars(lines.records[0])["fields"]
    assert fields["plugin"] is None
    assert "test_what_holds_it" in fields["stack"]


async def test_it_is_told_once_for_each_time(lines: Lines) -> None:
    watch = LoopWatch(slow_s=0.02)
    watch.start()
    try:
        for times in (1, 2):
            lines.has_come.clear()
            assert lines.has_come.wait(10)
            lines.has_come.clear()
            assert not lines.has_come.wait(0.1), "told again while it is the same time"
            assert len(lines.records) == times
            turns = 0
            while watch.is_held and turns < 1000:
                turns += 1
                await asyncio.sleep(0.001)
    finally:
        watch.stop()


async def test_an_async_plugin_that_waits_holds_nothing(lines: Lines) -> None:
    async def waits() -> None:
        await asyncio.sleep(0.3)

    watch = LoopWatch(slow_s=0.1)
    watch.start()
    try:
        await called(waits)((), 5.0)
        assert not watch.is_held
    finally:
        watch.stop()
    assert not lines.records


async def test_a_loop_that_is_held_for_long_is_not_ready_until_it_has_turns(lines: Lines) -> None:
    changes: list[bool] = []
    changed = threading.Event()

    def note(is_ready: bool) -> None:  # noqa: FBT001 - as it is called
        changes.append(is_ready)
        changed.set()

    watch = LoopWatch(slow_s=0.02, not_ready_s=0.1, on_change=note)
    watch.start()
    try:
        ready = [watch.is_ready]
        await called(lambda: changed.wait(10))((), 5.0)
        ready.append(watch.is_ready)
        changed.clear()
        await asyncio.to_thread(changed.wait, 10)
        ready.append(watch.is_ready)
    finally:
        watch.stop()
    assert changes == [False, True]
    assert ready == [True, False, True]
    assert [one.getMessage() for one in lines.records] == ["event loop held", "not ready", "ready again"]
    assert vars(lines.records[1])["fields"]["plugin"] == "slow"


async def test_a_loop_that_is_held_for_less_stays_ready(lines: Lines) -> None:
    watch = LoopWatch(slow_s=0.02, not_ready_s=30)
    watch.start()
    try:
        await called(lambda: lines.has_come.wait(10))((), 5.0)
        assert watch.is_ready
    finally:
        watch.stop()
    assert [one.getMessage() for one in lines.records] == ["event loop held"]
