"""What the plugin may cost while nobody answers, and what it may keep of a message."""

import asyncio
import tracemalloc
from contextvars import ContextVar

import pytest

from tests.receiver import Receiver, hang
from tests.telling import Make, VirtualClock, attempt, ids, losses, making, message, tell, told

make = pytest.fixture(making)


async def test_while_nobody_answers_memory_is_bounded_and_losses_are_logged_once_a_second(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    clock = VirtualClock()
    octets = 1024 * 1024
    with Receiver(hang) as receiver:
        plugin = make(receiver.url, clock, max_queue_bytes=octets)
        plugin.after_send(message(0), attempt())
        await asyncio.to_thread(receiver.wait)
        tracemalloc.start()
        try:
            for number in range(1, 20_001):
                clock.passed += 0.001
                plugin.after_send(message(number), attempt())
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        logged = losses(caplog)
        receiver.release()
        await told()
    assert size < 1.2 * octets
    told_of = [number for request in receiver.requests[1:] for number in ids(request)]
    assert told_of[-1] == len(told_of) - 1  # what was there first, without a gap
    assert len(told_of) * 64 < octets
    assert {why for _, why in logged} == {"the queue is full"}
    assert len(logged) == pytest.approx((20_000 - len(told_of)) / 1000, abs=2)
    everything = sum(count for count, _ in losses(caplog))
    assert everything + len(told_of) == pytest.approx(20_001, abs=1000)


async def test_a_hook_costs_microseconds_and_starts_one_task(make: Make) -> None:
    with Receiver(hang) as receiver:
        plugin = make(receiver.url)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(1000):
            plugin.after_send(message(number), attempt())
        assert loop.time() - started < 0.5
        await asyncio.sleep(0)
        assert [task.get_name() for task in asyncio.all_tasks()].count("webhook") == 1
        receiver.release()
        await told()


async def test_what_holds_for_one_message_does_not_hold_for_the_next_ones(make: Make) -> None:
    current = ContextVar("current", default="none")
    seen = []

    class Clock(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            seen.append(current.get())
            await super().sleep(seconds)

    with Receiver() as receiver:
        plugin = make(receiver.url, Clock())
        current.set("this message")
        await tell(plugin, 1)
    assert seen == ["none"]
