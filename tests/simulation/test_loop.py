"""Time that jumps, and an outside that is not there."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from smtp_router.simulation.clock import START, LoopClock
from smtp_router.simulation.loop import OutsideError, VirtualLoop

YEAR_S = 365 * 86_400.0


def virtual(main: Callable[[LoopClock], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever it comes to
    async def go() -> Any:  # noqa: ANN401 - as above
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return await main(LoopClock(loop, START))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(go())


def test_a_year_of_sleep_takes_no_time() -> None:
    async def main(clock: LoopClock) -> float:
        await asyncio.sleep(YEAR_S / 2)
        await clock.sleep(YEAR_S / 4)
        await clock.pause(YEAR_S / 4)
        assert (clock.wall() - START).total_seconds() == YEAR_S
        return clock.now()

    began = time.monotonic()
    assert virtual(main) == YEAR_S
    assert time.monotonic() - began < 10


def test_what_is_due_at_the_same_instant_is_done_in_the_order_it_was_asked_for() -> None:
    async def main(clock: LoopClock) -> list[int]:
        done: list[int] = []

        async def one(number: int) -> None:
            await (clock.pause(1.0) if number % 2 else asyncio.sleep(1.0))
            done.append(number)

        await asyncio.gather(*map(one, range(10)))
        return done

    # A pause goes on with its timer, a sleep in the next turn: here always before the next timer.
    assert virtual(main) == list(range(10))


def test_timeouts_and_cancellations_work() -> None:
    async def main(clock: LoopClock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await clock.pause(100)
        await asyncio.sleep(0)
        return clock.now()

    assert virtual(main) == 10


def test_work_for_a_thread_is_done_in_place_at_once() -> None:
    async def main(clock: LoopClock) -> None:
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        assert clock.now() == 0

    virtual(main)


def test_context_variables_are_those_of_the_task() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def main(clock: LoopClock) -> list[int]:
        async def one(number: int) -> int:
            variable.set(number)
            await clock.pause(10 - number)
            return variable.get()

        return list(await asyncio.gather(*map(one, range(10))))

    assert virtual(main) == list(range(10))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: asyncio.open_connection("127.0.0.1", 9),
        lambda: asyncio.start_server(lambda *_: None, "127.0.0.1", 0),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 25),
        lambda: asyncio.create_subprocess_exec("true"),
    ],
)
def test_the_outside_is_refused_with_a_reason(ask: Callable[[], Awaitable[Any]]) -> None:
    async def main(_: LoopClock) -> None:
        with pytest.raises(OutsideError, match="a simulation has no network"):
            await ask()

    virtual(main)


def test_waiting_for_what_cannot_come_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing is going to happen"):
        virtual(lambda _: asyncio.Event().wait())


def test_timers_that_were_cancelled_do_not_pile_up() -> None:
    async def main(clock: LoopClock) -> int:
        loop: Any = asyncio.get_running_loop()
        for _ in range(20_000):
            async with asyncio.timeout(YEAR_S):
                await clock.pause(0.001)
        return len(loop._timers)  # noqa: SLF001 - nothing else tells

    assert virtual(main) < 5000


def test_a_failure_that_nobody_hears_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main(_: LoopClock) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with caplog.at_level(logging.ERROR):
        virtual(main)
    assert "nobody was told of a failure" in caplog.text
