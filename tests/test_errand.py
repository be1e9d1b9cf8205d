"""Work that is done without a task for as long as it can be."""

import asyncio
import gc
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from smtp_router.errand import Errand, Pending, aside, in_task

mark: ContextVar[str] = ContextVar("mark", default="outside")


def pending() -> Pending[str]:
    return Pending(loop=asyncio.get_running_loop())


def is_waiting(errand: Errand) -> bool:
    return not errand.is_done


async def turns() -> None:
    """Let everything happen that is on its way."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_work_that_never_waits_is_done_at_once() -> None:
    done = []

    async def work() -> None:
        done.append(True)

    errand = Errand(asyncio.get_running_loop(), work())
    assert errand.is_done
    assert done


async def test_it_goes_on_while_the_result_is_told_and_without_a_task() -> None:
    awaited, tasks, heard = pending(), [], []

    async def work() -> None:
        tasks.append(asyncio.current_task())
        heard.append(await awaited)
        tasks.append(asyncio.current_task())

    errand = Errand(asyncio.get_running_loop(), work())
    assert is_waiting(errand)
    here = asyncio.current_task()
    awaited.tell("told")
    assert errand.is_done
    assert heard == ["told"]
    assert tasks == [here, here]  # no other than whoever told it


@pytest.mark.parametrize("tell", [Pending.tell_later, lambda it, _: it.fail_later(OSError("told"))])
async def test_what_is_told_later_goes_on_in_the_next_turn(
    tell: Callable[[Pending[str], str], None],
) -> None:
    awaited, heard = pending(), []

    async def work() -> None:
        try:
            heard.append(await awaited)
        except OSError as error:
            heard.append(str(error))

    errand = Errand(asyncio.get_running_loop(), work())
    tell(awaited, "told")
    assert is_waiting(errand)
    await turns()
    assert errand.is_done
    assert heard == ["told"]


async def test_it_is_a_task_from_its_first_other_wait_on() -> None:
    done: list[object] = []
    awaited = pending()

    async def work() -> None:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        async with asyncio.timeout(60):
            done.append(await awaited)
        done.append(asyncio.current_task() is task is not None)

    errand = Errand(asyncio.get_running_loop(), work())
    await turns()
    awaited.tell("told")
    assert done == []
    await turns()
    assert done == ["told", True]
    assert not errand.is_done


async def test_in_task_makes_one_where_there_is_none() -> None:
    limits = []

    async def work() -> None:
        await in_task()
        async with asyncio.timeout(60) as limit:
            await asyncio.sleep(0)
            limits.append(limit)

    Errand(asyncio.get_running_loop(), work())
    await turns()
    assert len(limits) == 1
    task = asyncio.current_task()
    await in_task()
    assert asyncio.current_task() is task


async def test_an_exception_thrown_where_it_waits_is_the_works_own() -> None:
    caught = []

    async def work() -> None:
        failing: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(failing.set_exception, ValueError("first"))
        try:
            await failing
        except ValueError as error:
            caught.append(str(error))
        await asyncio.sleep(0)
        caught.append("went on")

    Errand(asyncio.get_running_loop(), work())
    await turns()
    assert caught == ["first", "went on"]


@pytest.mark.parametrize("waits", ["without a task", "as a task"])
async def test_cancelled_it_ends_where_it_waits_as_a_task_would(waits: str) -> None:
    awaited = pending()
    seen: list[object] = []

    async def work() -> None:
        if waits == "as a task":
            await asyncio.sleep(0)
        try:
            await awaited
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            seen.extend((task.cancelling(), awaited.cancelled()))
            raise

    errand = Errand(asyncio.get_running_loop(), work())
    await turns()
    errand.cancel()
    assert not awaited.cancelled()
    await turns()
    assert seen == [1, True]


async def test_cancelled_between_the_telling_and_the_going_on_it_still_hears_it() -> None:
    awaited = pending()
    seen: list[str] = []

    async def work() -> None:
        try:
            await awaited
        except asyncio.CancelledError:
            seen.append(awaited.result())

    errand = Errand(asyncio.get_running_loop(), work())
    awaited.tell_later("told")
    errand.cancel()
    await turns()
    assert seen == ["told"]


async def test_it_is_not_cancelled_while_it_runs() -> None:
    first, second = pending(), pending()
    heard: list[str] = []

    async def work() -> None:
        await first
        errand.cancel()
        heard.append(await second)

    errand = Errand(asyncio.get_running_loop(), work())
    first.tell("")
    second.tell("told")
    assert errand.is_done
    assert heard == ["told"]


async def test_what_it_sets_in_its_context_stays_there() -> None:
    awaited, seen = pending(), []

    async def work() -> None:
        mark.set("inside")
        await awaited
        seen.append(mark.get())
        await asyncio.sleep(0)
        seen.append(mark.get())

    Errand(asyncio.get_running_loop(), work())
    assert mark.get() == "outside"
    awaited.tell("")
    await turns()
    assert seen == ["inside", "inside"]
    assert mark.get() == "outside"


async def test_an_exception_that_gets_out_is_reported_to_the_loop_and_not_to_who_told() -> None:
    awaited, reported = pending(), []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    async def work() -> None:
        await awaited
        raise ValueError("out")

    errand = Errand(loop, work())
    awaited.tell("")
    assert [str(error) for error in reported] == ["out"]
    assert not errand.is_done


@pytest.mark.parametrize("fails", [False, True])
async def test_work_aside_is_a_task_and_who_waits_for_it_is_none(*, fails: bool) -> None:
    loop, tasks, heard = asyncio.get_running_loop(), [], []

    async def often() -> str:
        tasks.append(asyncio.current_task())
        await turns()
        if fails:
            raise ValueError("out")
        return "done"

    async def work() -> None:
        try:
            heard.append(await aside(loop, often()))
        except ValueError as error:
            heard.append(str(error))
        tasks.append(asyncio.current_task())

    errand = Errand(loop, work())
    assert is_waiting(errand)
    await turns()
    await turns()
    assert errand.is_done
    assert heard == ["out" if fails else "done"]
    assert tasks[0] is not None
    assert tasks[1] is None


@pytest.mark.parametrize("ends", ["cancelled", "with a result", "with an exception"])
async def test_cancelled_who_waits_goes_on_when_the_work_aside_has_ended(
    ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop, seen = asyncio.get_running_loop(), []

    async def often() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("the work")
            if ends == "cancelled":
                raise
            if ends == "with an exception":
                raise ValueError(ends) from None

    async def work() -> None:
        try:
            await aside(loop, often())
        except asyncio.CancelledError:
            seen.append("who waits")
            raise

    errand = Errand(loop, work())
    await turns()
    errand.cancel()
    await turns()
    await turns()
    assert seen == ["the work", "who waits"]
    del errand
    gc.collect()
    assert not caplog.records  # nor does asyncio miss the exception
