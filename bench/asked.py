"""How a server that is measured tells about itself, while it runs.

Once at the start, and then for every line on stdin, it says how it is in a line of JSON on stdout. When
stdin ends, so does the server.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.steps import Steps

TICK_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a server is.

    Args:
        ports: where it listens, in the order of its configuration.
        cpu_s: the CPU time it has used so far, in user and kernel.
        traced_bytes: what Python has allocated, if that is counted.
        held_s: the longest time for which the event loop was held since the last figures, if watched.
        held_cpu_s: the same in CPU time.
        bytecodes: what Python has run since it began to listen, if that is counted.
        calls: the same in calls of functions.
    """

    ports: Sequence[int]
    cpu_s: float
    traced_bytes: int = 0
    held_s: float = 0.0
    held_cpu_s: float = 0.0
    bytecodes: int = 0
    calls: int = 0


class Watch:
    """The longest time between two ticks of the event loop, less the time that was meant.

    Its CPU time counts beside the wall's: on a busy machine the process itself has to wait for its turn,
    and nothing in it was held by that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to tick."""
        self._loop = loop
        self._last = time.monotonic(), time.thread_time()
        self._held_s = self._held_cpu_s = 0.0
        loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        wall, cpu = time.monotonic(), time.thread_time()
        self._held_s = max(self._held_s, wall - self._last[0] - TICK_S)
        self._held_cpu_s = max(self._held_cpu_s, cpu - self._last[1])
        self._last = wall, cpu
        self._loop.call_later(TICK_S, self._tick)

    def read(self) -> tuple[float, float]:
        """The longest since it was last asked: by the wall's clock, and in CPU time."""
        found = self._held_s, self._held_cpu_s
        self._held_s = self._held_cpu_s = 0.0
        return found


def answer_on_stdin(
    ports: Sequence[int],
    stop: Callable[[], None],
    watch: Watch | None = None,
    steps: Steps | None = None,
) -> None:
    """Say how this process is, now and whenever it is asked; `stop` is called when stdin ends."""
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()

    def tell() -> None:
        held_s, held_cpu_s = watch.read() if watch else (0.0, 0.0)
        traced, _ = tracemalloc.get_traced_memory()
        figures = Figures(
            ports=ports,
            cpu_s=time.process_time(),
            traced_bytes=traced,
            held_s=held_s,
            held_cpu_s=held_cpu_s,
            bytecodes=steps.bytecodes if steps else 0,
            calls=steps.calls if steps else 0,
        )
        print(json.dumps(dataclasses.asdict(figures)), flush=True)

    def asked() -> None:
        if os.read(stdin, 1):
            tell()
        else:
            loop.remove_reader(stdin)
            stop()

    loop.add_reader(stdin, asked)
    tell()
