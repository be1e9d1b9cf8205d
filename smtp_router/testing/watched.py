"""Work in a thread of its own, on an event loop of its own, under watch: what holds the loop is named.

So a plugin that never comes back costs its test, and not the rest of them.
"""

import asyncio
import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import FrameType
from typing import Any, Final, TypeVar

from smtp_router.hooks.watch import call_in

_T = TypeVar("_T")

LIMIT_S: Final = 5.0
"""How long one call of a hook may take: what the router's `hook_timeout_s` is by default."""
ALL: Final = 20
"""How many times as long everything together may take."""
FRAMES: Final = 4
"""How much of a stack is shown."""
_LEAVE_S: Final = 1.0
"""How long a thread that was told to end has for that."""
_MOMENT_S: Final = 0.001


def watched(
    work: Callable[[], Coroutine[Any, Any, _T]], limit_s: float = LIMIT_S, all_s: float = 0.0
) -> _T:
    """Run a coroutine to its end; what it returns.

    Args:
        work: makes the coroutine.
        limit_s: how long anything in it may hold the event loop, in seconds.
        all_s: how long all of it may take; by default, twenty times as long.

    Raises:
        AssertionError: something has held the event loop for longer, or it has not come to an end; says
            what, and where it is.
    """
    worker = _Worker(work)
    worker.thread.start()
    start = time.monotonic()
    while not worker.result.done():
        with suppress(TimeoutError):
            worker.result.exception(limit_s / 8)
        if worker.result.done():
            break
        now = time.monotonic()
        if now - worker.turn > limit_s:
            raise AssertionError(worker.ended(f"come back within {limit_s:g} s"))
        if now - start > (all_s or ALL * limit_s):
            raise AssertionError(worker.ended(f"come to an end within {all_s or ALL * limit_s:g} s"))
    worker.thread.join()
    result: _T = worker.result.result()
    return result


class _Worker:
    """A thread with an event loop that notes when it had its last turn."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.result: Future[Any] = Future()
        self.turn = time.monotonic()
        self.thread = threading.Thread(target=self._main, name="plugin under test", daemon=True)
        self._work = work
        self._others = set(threading.enumerate())

    def ended(self, what: str) -> str:
        """End it, as it has not done what it had to; who holds the loop, and where."""
        frame = sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001 - documented, for this
        call = call_in(frame)
        who = f"{call.hook} of {call.plugin}" if call else "the plugin"
        stack = "".join(traceback.format_stack(frame)[-FRAMES:]) if frame else ""
        self._interrupt()
        return f"{who} has not {what}; it is here:\n{stack}"

    def _interrupt(self) -> None:
        """Have it end at its next line of Python, with all threads begun meanwhile.

        What waits in C for ever stays as it is. A thread that measures coverage just now holds a lock,
        which would never be released, so it is given a moment. Where it was seen is where it is
        interrupted: a thread looks for that as soon as it has the interpreter again.
        """
        waiting = set(threading.enumerate()) - self._others
        end = time.monotonic() + _LEAVE_S
        while waiting and time.monotonic() < end:
            frames = sys._current_frames()  # noqa: SLF001 - as above
            for thread in tuple(waiting):
                frame = frames.get(thread.ident or 0)
                if frame is None or not _measures(frame):
                    ident = ctypes.c_ulong(thread.ident or 0)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
                    waiting.remove(thread)
            if waiting:
                time.sleep(_MOMENT_S)
        self.thread.join(_LEAVE_S)

    def _main(self) -> None:
        try:
            self.result.set_result(asyncio.run(self._beating()))
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self.result.set_exception(error)

    async def _beating(self) -> object:
        beating = asyncio.ensure_future(self._beat())
        try:
            return await self._work()
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self.turn = time.monotonic()
            await asyncio.sleep(0.01)


def _measures(frame: FrameType | None) -> bool:
    """Whether this stack is in coverage.py."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "coverage":
            return True
        frame = frame.f_back
    return False
