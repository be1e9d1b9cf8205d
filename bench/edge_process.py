"""The router that is measured, as a process of its own: the real service with nobody behind it.

    python -m bench.edge_process CONFIG [--watch] [--trace]

The log goes to stderr, as that of `smtp-router serve` does, and the event loop is the same. Once it
listens, and then for every line on stdin, it says how it is in a line of JSON on stdout (`Figures`). It
ends when stdin does.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import tracemalloc
from pathlib import Path

from smtp_router.cli import logs
from smtp_router.cli.common import run
from smtp_router.config.load import load
from smtp_router.config.settings import Downstream, Settings
from smtp_router.config.types import HostPort
from smtp_router.core.message import Message
from smtp_router.core.outcome import Delivered, Outcome
from smtp_router.core.reply import Reply
from smtp_router.service import Service

TICK_S = 0.001


class NullSender:
    """Takes every message at once."""

    def __init__(self) -> None:
        """Nothing is taken yet."""
        self._outcome = Delivered(reply=Reply(code=250, enhanced="2.0.0", text="Taken"))

    async def send(
        self,
        message: Message,
        downstream: Downstream,
        settings: Settings,
        *,
        until: float,
        deadline: float,
    ) -> Outcome:
        """Take it."""
        del message, downstream, settings, until, deadline
        return self._outcome


class Watch:
    """The longest time between two ticks of the event loop, less the tick itself.

    Its CPU time counts beside the wall's: on a busy machine the process itself has to wait for its turn,
    and nothing in it was held by that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to tick."""
        self._loop = loop
        self._at = time.monotonic(), time.thread_time()
        self._held = self._held_cpu = 0.0
        loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now = time.monotonic(), time.thread_time()
        self._held = max(self._held, now[0] - self._at[0] - TICK_S)
        self._held_cpu = max(self._held_cpu, now[1] - self._at[1])
        self._at = now
        self._loop.call_later(TICK_S, self._tick)

    def read(self) -> dict[str, float]:
        """The longest since it was last asked."""
        found = {"held_s": self._held, "held_cpu_s": self._held_cpu}
        self._held = self._held_cpu = 0.0
        return found


async def _serve(config: Path, *, watched: bool) -> None:
    loop = asyncio.get_running_loop()
    service = Service(load(config), sender=NullSender())
    await service.start()
    watch = Watch(loop) if watched else None

    def tell() -> None:
        ports = [one.port for one in service.addresses if isinstance(one, HostPort)]
        traced, _ = tracemalloc.get_traced_memory()
        figures = {"ports": ports, "cpu_s": time.process_time(), "traced_bytes": traced}
        figures |= watch.read() if watch else {"held_s": 0.0, "held_cpu_s": 0.0}
        print(json.dumps(figures), flush=True)

    def asked() -> None:
        if os.read(sys.stdin.fileno(), 1):
            tell()
        else:
            loop.remove_reader(sys.stdin.fileno())
            service.stop()

    loop.add_reader(sys.stdin.fileno(), asked)
    tell()
    await service.run()


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", type=Path)
    parser.add_argument("--watch", action="store_true", help="time how long the event loop is held")
    parser.add_argument("--trace", action="store_true", help="count what Python allocates (slow)")
    arguments = parser.parse_args()
    if arguments.trace:
        tracemalloc.start()
    logs.configure("text", "info")
    run(lambda: _serve(arguments.config, watched=arguments.watch))


if __name__ == "__main__":
    main()
