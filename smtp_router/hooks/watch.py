"""Watches over the event loop from a thread of its own: who holds it is named, while it is held.

A plugin's function that is not `async` runs on the loop; if it waits or computes for long, every session
waits with it. Nothing can stop it, but it can be told who it is.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType

from smtp_router.hooks.call import HookCall

log = logging.getLogger(__name__)

SLOW_S = 0.25
"""A loop that has not had a turn for so long is held."""


class LoopWatch:
    """Looks after one event loop; made and started where it runs."""

    def __init__(self, *, slow_s: float = SLOW_S) -> None:
        """Nothing is watched yet.

        Args:
            slow_s: after how long to speak up, in seconds.
        """
        self._slow_s = slow_s
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._turn = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    @property
    def is_held(self) -> bool:
        """Whether the loop has had no turn for `slow_s`."""
        return time.monotonic() - self._turn >= self._slow_s

    def start(self) -> None:
        """Begin to watch."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()
        self._thread.join()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._turn = time.monotonic()
        self._timer = self._loop.call_later(self._slow_s / 4, self._beat)

    def _watch(self) -> None:
        told = 0.0
        while not self._stopping.wait(self._slow_s / 4):
            turn = self._turn
            held_s = time.monotonic() - turn
            if held_s >= self._slow_s and turn != told:
                told = turn  # once for each time
                self._tell(held_s)

    def _tell(self, held_s: float) -> None:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - documented, for this
        call = _call_in(frame)
        fields = {
            "plugin": call.plugin if call else None,
            "hook": call.hook if call else None,
            "seconds": round(held_s, 2),
            "stack": "".join(traceback.format_stack(frame)) if frame else None,
        }
        log.error("event loop held", extra={"fields": fields})


def _call_in(frame: FrameType | None) -> HookCall | None:
    """The innermost call of a hook that a stack is in."""
    while frame is not None:
        if frame.f_code is HookCall.__call__.__code__:
            call = frame.f_locals.get("self")
            return call if isinstance(call, HookCall) else None
        frame = frame.f_back
    return None
