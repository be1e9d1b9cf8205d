import asyncio

import pytest

from smtp_router.routing.shield import to_the_end


class Work:
    """Something that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.done = False

    async def __call__(self) -> str:
        self.begun.set()
        await self.end.wait()
        self.done = True
        return "result"


async def test_what_is_not_cancelled_gives_its_result() -> None:
    work = Work()
    work.end.set()
    assert await to_the_end(work()) == "result"


async def test_what_it_raises_comes_out() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_the_end(fail())


async def test_one_cancellation_does_not_end_it_and_counts_from_the_next_wait_on() -> None:
    work = Work()
    seen: list[str] = []

    async def caller() -> None:
        seen.append(await to_the_end(work()))
        await asyncio.sleep(0)
        seen.append("went on")

    task = asyncio.create_task(caller())
    await work.begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    work.end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.done
    assert seen == ["result"]


async def test_two_cancellations_end_it() -> None:
    work = Work()
    task = asyncio.create_task(to_the_end(work()))
    await work.begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not work.done


async def test_work_that_is_cancelled_itself_is_a_cancellation() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await to_the_end(cancelled())
