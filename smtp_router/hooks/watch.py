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
from collections.abc import Callable
from types import FrameType

from smtp_router.hooks.call import HookCall

log = logging.getLogger(__name__)

SLOW_S = 0.25
"""A loop that has not had a turn for so long is held."""
NOT_READY_S = 10.0
"""Held for so long, and whoever sends mail here should send it elsewhere."""


_CALLS = frozenset({HookCall.begin.__code__, HookCall.finish.__code__})


class LoopWatch:
    """Looks after one event loop; made and started where it runs."""

    def __init__(
        self,
        *,
        slow_s: float = SLOW_S,
        not_ready_s: float = NOT_READY_S,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Nothing is watched yet.

        Args:
            slow_s: after how long to speak up, in seconds.
            not_ready_s: after how long the loop is not ready any more, in seconds.
            on_change: told, in the watching thread, whether it is ready, when that changes.
        """
        self._slow_s = slow_s
        self._not_ready_s = not_ready_s
        self._on_change = on_change
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

    @property
    def is_ready(self) -> bool:
        """Whether the loop has had a turn within `not_ready_s`; any thread may ask."""
        return time.monotonic() - self._turn < self._not_ready_s

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
        was_ready = True
        while not self._stopping.wait(self._slow_s / 4):
            turn = self._turn
            held_s = time.monotonic() - turn
            if was_ready is not (held_s < self._not_ready_s):
                was_ready = not was_ready
                self._tell_change(is_ready=was_ready, held_s=held_s)
            if held_s >= self._slow_s and turn != told:
                told = turn  # once for each time
                self._tell(held_s)

    def _tell(self, held_s: float) -> None:
        frame, fields = self._who(held_s)
        fields["stack"] = "".join(traceback.format_stack(frame)) if frame else None
        log.error("event loop held", extra={"fields": fields})

    def _tell_change(self, *, is_ready: bool, held_s: float) -> None:
        if is_ready:
            log.warning("ready again")
        else:
            log.error("not ready", extra={"fields": self._who(held_s)[1]})
        self._on_change(is_ready)

    def _who(self, held_s: float) -> tuple[FrameType | None, dict[str, object]]:
        """Where the loop's thread is, and whose function that is."""
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - documented, for this
        call = call_in(frame)
        return frame, {
            "plugin": call.plugin if call else None,
            "hook": call.hook if call else None,
            "seconds": round(held_s, 2),
        }


def call_in(frame: FrameType | None) -> HookCall | None:
    """The innermost call of a hook that a stack is in."""
    while frame is not None:
        if frame.f_code in _CALLS:
            call = frame.f_locals.get("self")
            return call if isinstance(call, HookCall) else None
        frame = frame.f_back
    return None
