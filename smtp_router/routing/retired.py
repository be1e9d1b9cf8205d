"""What a reload has dropped: plugins are closed when the last messages that go by them are done.

And routes are let go of one by one, when nobody goes by their epoch any more: to free those of ten
thousand users at once would hold all threads for a tenth of a second.
"""

import asyncio
import logging
from collections.abc import Iterable
from weakref import ref

from smtp_router.core.clock import Clock
from smtp_router.hooks.call import HookCall, close
from smtp_router.hooks.plugin import Plugin, families
from smtp_router.routing.epoch import Epoch, Route

log = logging.getLogger(__name__)


class Retired:
    """Waits for the right time to close plugins."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is dropped yet."""
        self._clock = clock
        self._waiting: list[tuple[float, float, tuple[HookCall, ...]]] = []
        self._past: list[tuple[ref[Epoch], list[Route]]] = []

    def add(self, epoch: Epoch, *, successor: Epoch | None = None) -> None:
        """Drop an epoch: its routes, and its plugins but for those that its successor has, too."""
        self._past.append((ref(epoch), list(epoch.routes.values())))
        kept = set(map(id, _plugins(successor))) if successor else set()
        calls = tuple(
            call
            for plugin in _plugins(epoch)
            if id(plugin) not in kept
            for call in plugin.calls_of("close")
        )
        if calls:
            timeout_s = epoch.settings.hook_timeout_s
            # A message ends by its deadline, but for its after_send.
            due = self._clock.now() + epoch.settings.deadline_s + timeout_s
            self._waiting.append((due, timeout_s, calls))

    async def close_due(self) -> None:
        """Close those whose messages are done, and let go of what was theirs."""
        past = [routes for epoch, routes in self._past if epoch() is None]
        self._past = [entry for entry in self._past if entry[0]() is not None]
        if past:
            await asyncio.to_thread(_let_go, past)
        now = self._clock.now()
        due = [entry for entry in self._waiting if entry[0] <= now]
        self._waiting = [entry for entry in self._waiting if entry[0] > now]
        await _close(due)

    async def close_all(self) -> None:
        """Close them all now."""
        due, self._waiting = self._waiting, []
        await _close(due)


def _let_go(past: Iterable[list[Route]]) -> None:
    for routes in past:
        while routes:
            routes.pop()


async def _close(entries: Iterable[tuple[float, float, tuple[HookCall, ...]]]) -> None:
    for _, timeout_s, calls in entries:
        await close(calls, timeout_s)


def _plugins(epoch: Epoch) -> tuple[Plugin, ...]:
    return families(plugin for route in epoch.routes.values() for plugin in route.all_plugins)
