"""The same epoch for all workers: taken up by all of them, or by none.

All build the next one aside. If each has one and all were made of the same files, all put it in place;
else all drop it, and what kept one of them from it is logged once. So nobody ever serves what another
has refused, and a worker that dies while it builds has refused it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from smtp_router.workers.child import Child
from smtp_router.workers.line import LostError

log = logging.getLogger(__name__)

PREPARE_S = 30.0
"""How long one may take to build an epoch; of ten thousand users it takes seconds."""
_ASK_S = 10.0
_TRIES = 5
"""How often it is tried while the files change between one worker's look and another's."""


class SharedEpochs:
    """Which epoch is at work."""

    def __init__(self, children: Callable[[], Sequence[Child]]) -> None:
        """None yet: the first worker that has loaded one decides.

        Args:
            children: those that are running.
        """
        self._children = children
        self._lock = asyncio.Lock()
        self._digest = ""
        self.number = 1

    async def join(self, child: Child, digest: str) -> int | None:
        """Let a worker begin, if it has loaded what all serve, or all can take up what it has loaded.

        Returns:
            The number of the epoch; `None`: it may not.
        """
        async with self._lock:
            if self._admit(child, digest):
                return self.number
            await self._round(read=True)
            return self.number if self._admit(child, digest) else None

    async def agree(self, child: Child, *, read: bool) -> None:
        """Take up what a worker has seen to have changed, unless that has been done meanwhile."""
        was_busy = self._lock.locked()
        async with self._lock:
            if was_busy:
                try:
                    config, plugins = await child.ask("changed", within_s=_ASK_S)
                except LostError:
                    return
                if not config and not plugins:
                    return
                read = read or config
            await self._round(read=read)

    async def reload(self) -> None:
        """Have all read everything again."""
        async with self._lock:
            await self._round(read=True)

    def _admit(self, child: Child, digest: str) -> bool:
        if not self._at_work():
            self._digest = digest
        child.is_at_work = digest == self._digest
        return child.is_at_work

    def _at_work(self) -> Sequence[Child]:
        return [child for child in self._children() if child.is_at_work]

    async def _round(self, *, read: bool) -> None:
        for _ in range(_TRIES):
            if await self._try(read=read):
                return
            read = read or await self._config_changed()
        _refused("what the workers have loaded is not the same: see the log")

    async def _config_changed(self) -> bool:
        """Whether one of those at work has not read the configuration as it stands now."""
        asked = (child.ask("changed", within_s=_ASK_S) for child in self._at_work())
        found = await asyncio.gather(*asked, return_exceptions=True)
        return any(not isinstance(one, BaseException) and one[0] for one in found)

    async def _try(self, *, read: bool) -> bool:
        """Whether that settles it."""
        children = self._at_work()
        prepared = await asyncio.gather(
            *(_prepare(child, read=read, speaks=child is children[0]) for child in children)
        )
        problems: list[str] = next((one["problems"] for one in prepared if one["problems"]), [])
        for problem in problems:
            _refused(problem)
        new = [child for child, one in zip(children, prepared, strict=True) if one["is_new"]]
        if not new:
            return True
        digests = {one["digest"] for one in prepared}
        if len(new) == len(children) and len(digests) == 1:
            self.number += 1
            (self._digest,) = digests
            await _all(new, "commit")
            return True
        await _all(children, "abort")
        return bool(problems)


def _refused(problem: str) -> None:
    log.error("not reloaded, the old configuration stays", extra={"fields": {"problem": problem}})


async def _prepare(child: Child, *, read: bool, speaks: bool) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await child.ask("prepare", within_s=PREPARE_S, read=read, speaks=speaks)
    except LostError as error:
        problem = f"worker {child.worker} {error}"
        return {"is_new": False, "digest": "", "problems": [problem]}
    return found


async def _all(children: Sequence[Child], what: str) -> None:
    asked = (child.ask(what, within_s=_ASK_S) for child in children)
    await asyncio.gather(*asked, return_exceptions=True)
