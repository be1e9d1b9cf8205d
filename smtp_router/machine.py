"""What the machine gives to the router: time, and files it may open."""

import asyncio
import gc
import math
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

WANTED_FILES = 65_536


class MonotonicClock:
    """The clock that event loops go by, read directly: uvloop's own copy moves in milliseconds."""

    now = staticmethod(time.monotonic)
    """The present instant in seconds."""

    def wall(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""
        await asyncio.sleep(seconds)


def cores() -> int:
    """How many cores this process may use, whole ones: by affinity, and by its control group (Linux)."""
    may_use = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # cgroups(7): "max", or so much time in each period
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        may_use = min(may_use, math.ceil(int(quota) / int(period)))
    return max(may_use, 1)


def max_files() -> int:
    """How many file descriptors this process may have open; as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):  # macOS has a limit of its own below "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, WANTED_FILES), hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


MANY_OBJECTS = 50_000
"""To look through so many takes the garbage collector 10 ms."""


@contextmanager
def no_collections() -> Iterator[None]:
    """For a time in which much is made that stays: the garbage collector does not look through it.

    With ten thousand users a look takes a quarter of a second, and no thread has a turn. So there is
    none meanwhile; and if much has been made, it is taken out of all later looks, as what is there at
    the start is. It goes when nobody refers to it, as most things do; only what is in a circle, and was
    there at that time, does not.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_count()[0] > MANY_OBJECTS:
                gc.freeze()
            gc.enable()
