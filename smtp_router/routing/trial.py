"""Candidates for an algorithm, tried on live mail: asked along, or given a share of it."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt
from smtp_router.core.trace import Trace, Word
from smtp_router.hooks.call import Chains, HookCall
from smtp_router.hooks.plugin import Plugin, chains

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""A candidate that answers too slowly is not asked any more until it has caught up."""


class Canary(NamedTuple):
    """A candidate that chooses for some of the messages."""

    plugin: Plugin
    chains: Chains
    """All hooks, with its choice in place of the algorithm's."""
    share: float
    """Of how many it chooses, from 0 to 1."""


class Counts:
    """How often a shadow was of another mind."""

    __slots__ = ("asked", "differed", "failed", "left_out")

    def __init__(self) -> None:
        """Nobody was asked yet."""
        self.asked = self.differed = self.failed = self.left_out = 0

    def told(self) -> dict[str, int]:
        """The figures, as JSON has them."""
        return {name: getattr(self, name) for name in self.__slots__}


class Shadow:
    """A candidate that is asked along with the algorithm, in tasks of its own: no mail waits for it."""

    def __init__(self, plugin: Plugin, timeout_s: float) -> None:
        """Nobody was asked yet.

        Args:
            plugin: the candidate.
            timeout_s: how long it may take to answer, where it is `async`.
        """
        self.plugin = plugin
        self.timeout_s = timeout_s
        self.counts = Counts()
        self._chains = chains((plugin,), timeout_s)
        self._tasks: set[asyncio.Task[None]] = set()

    def compare(
        self,
        message: Message,
        offered: Sequence[Downstream],
        attempts: tuple[Attempt, ...],
        chosen: Downstream | None,
        trace: Trace,
    ) -> None:
        """Ask it what has just been chosen, and write down where it is of another mind."""
        if len(self._tasks) >= MAX_WAITING:
            self.counts.left_out += 1
            return
        words = trace.words  # it may answer when the next round has begun
        self._begin(self._compare(message, offered, attempts, chosen.name if chosen else None, words))

    def told_first(self, chains: Chains) -> Chains:
        """These hooks, with which it is told what becomes of attempts: it may learn from that."""
        if not self._chains.after:
            return chains
        name, tell = self.plugin.name, self._tell
        call = HookCall(plugin=name, hook="after_send", function=tell, arguments=(0, 1))
        return replace(chains, after=(call, *chains.after))

    async def done(self) -> None:
        """Wait until it has answered everything."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _tell(self, message: Message, attempt: Attempt) -> None:
        if len(self._tasks) < MAX_WAITING:
            self._begin(self._chains.after_send(message, attempt))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self,
        message: Message,
        offered: Sequence[Downstream],
        attempts: tuple[Attempt, ...],
        chosen: str | None,
        words: list[Word],
    ) -> None:
        who = self.plugin.name, "shadow"
        fields = {"id": message.id, "user": message.user, "plugin": self.plugin.name}
        self.counts.asked += 1
        try:
            found = await self._chains.select_downstream(message, offered, attempts)
            said = found.name if found else None
        except Refusal as refusal:
            said = f"{type(refusal).__name__}: {refusal.reply}"
        except PluginError as error:
            self.counts.failed += 1
            words.append((who, error.message, False))
            log.exception("shadow failed", extra={"fields": fields})
            return
        words.append((who, said, False))
        if said != chosen:
            self.counts.differed += 1
            log.info(
                "shadow differs", extra={"fields": {**fields, "downstream": chosen, "shadow": said}}
            )
