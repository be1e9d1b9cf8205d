"""Work that is not cut short when the client that wanted it goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def to_the_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Wait for this work's result, also if cancelled meanwhile.

    The first cancellation (a client is gone) does not end the work: what can no longer be undone has to
    be known and told. It counts again from the caller's next wait on, so that nothing new is begun for a
    client that is gone. Only a second one (the router is being stopped for good) ends the work.

    Raises:
        asyncio.CancelledError: cancelled twice.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        pass
    try:
        return await carry_on(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise


async def carry_on(work: asyncio.Future[Result]) -> Result:
    """Wait for this although just cancelled for the first time; see `to_the_end`.

    Raises:
        asyncio.CancelledError: cancelled more than once, or the work was.
    """
    current = asyncio.current_task()
    if current is None or current.cancelling() > 1 or work.cancelled():
        raise asyncio.CancelledError
    current.uncancel()
    try:
        return await work
    finally:
        current.cancel()
