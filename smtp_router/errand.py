"""Work that is done without a task for as long as it can be.

A task costs two turns of the event loop: one to begin, one to go on when what it waits for is there.
Most messages wait for one thing only, their downstream's reply; whoever has it goes on with the message.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Pending(asyncio.Future[Result]):
    """A result to come, for which both tasks and errands can wait."""

    __slots__ = ("then",)

    then: Callable[[], None]
    """How the errand goes on that waits for it; there only if one does."""

    def tell(self, result: Result) -> None:
        """Set the result; an errand that waits for it goes on now, before this returns."""
        self.set_result(result)
        try:
            then = self.then
        except AttributeError:
            return
        then()

    def tell_later(self, result: Result) -> None:
        """Set the result; who waits for it goes on in the event loop's next turn."""
        self.set_result(result)
        self._go_on_later()

    def fail_later(self, error: Exception) -> None:
        """Set an exception; the same."""
        self.set_exception(error)
        self._go_on_later()

    def _go_on_later(self) -> None:
        if hasattr(self, "then"):
            self.get_loop().call_soon(self.then)


class Errand:
    """A coroutine that runs at once, and without a task until it waits for anything but a `Pending`.

    From then on it is a task like any other. What needs one before it waits, as `asyncio.timeout` does,
    comes behind `await in_task()`. It has a context of its own, as tasks have.
    """

    __slots__ = ("_context", "_loop", "_send", "_task", "_waits_for", "_work", "is_done")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        """Run until it first has to wait.

        Args:
            loop: the event loop that runs.
            work: what to run. An exception that it lets out is reported to the loop.
        """
        self._loop = loop
        self._work = work
        self._send = work.send  # it goes on twice, as a rule
        self._context = copy_context()
        self._task: asyncio.Task[None] | None = None
        self._waits_for: Pending[Any] | None = None
        self.is_done = False
        """Whether the coroutine has returned: without a task, and without an exception."""
        self._go_on()

    def cancel(self) -> None:
        """Cancel it as a task is cancelled, where it waits."""
        waits_for = self._waits_for
        if waits_for is not None:
            self._waits_for = None
            self._become_task(waits_for)
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)  # once it has begun: see `_carry_on`

    def _go_on(self) -> None:
        if self._task is not None:
            return  # it was cancelled, and goes on as a task
        self._waits_for = None
        try:
            waits_for = self._context.run(self._send, None)
        except StopIteration:
            self.is_done = True
        except Exception as error:  # noqa: BLE001 - a task would keep it
            self._loop.call_exception_handler({"message": "work failed", "exception": error})
        else:
            if waits_for.__class__ is Pending:
                self._waits_for = waits_for
                waits_for.then = self._go_on
            else:
                self._become_task(waits_for)

    def _become_task(self, waits_for: asyncio.Future[Any] | None) -> None:
        work = _carry_on(self._work, waits_for)
        self._task = self._loop.create_task(work, context=self._context)


async def in_task() -> None:
    """Go on as a task, whatever this was before."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


async def aside(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    """Wait for work that waits often: in a task of its own, so that each time only that goes on.

    A connection waits seven times until it is open; each time, the seven coroutines above it would be
    run through. And whoever has been without a task stays so.
    """
    task = loop.create_task(work)
    over: Pending[None] = Pending(loop=loop)

    def tell(_: asyncio.Task[Result]) -> None:
        if not over.done():
            over.tell(None)

    task.add_done_callback(tell)
    try:
        await over
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # it is known now, and is not missed
        raise
    return task.result()


async def _carry_on(work: Coroutine[Any, Any, Result], waits_for: asyncio.Future[Any] | None) -> Result:
    """Wait for what a coroutine waits for, and then for the rest of it."""
    return await _rest(work, waits_for)


@coroutine
def _rest(
    work: Coroutine[Any, Any, Result], waits_for: asyncio.Future[Any] | None
) -> Generator[Any, Any, Result]:
    # `await work` is refused for a coroutine that has begun.
    try:
        while True:
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                waits_for = work.throw(error)
            else:
                waits_for = work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
