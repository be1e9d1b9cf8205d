"""What the machine gives to the router: time, and files it may open."""

import asyncio
import resource
import time
from contextlib import suppress
from datetime import UTC, datetime

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


def max_files() -> int:
    """How many file descriptors this process may have open; as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):  # macOS has a limit of its own below "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, WANTED_FILES), hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
