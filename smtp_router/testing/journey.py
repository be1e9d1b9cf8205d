"""A message's way through a plugin, as in the router; what the plugin does wrong on it is noted."""

import asyncio
import traceback
from collections.abc import Sequence

from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered, Outcome
from smtp_router.hooks.call import one_of
from smtp_router.testing.clock import VirtualClock
from smtp_router.testing.histories import Histories
from smtp_router.testing.plugins import LoadedPlugin

_FRAMES = 5
"""How much of a traceback is shown."""


class Journeys:
    """Takes messages through a plugin.

    Each mistake of a kind is noted in a list of its own, so that a test can be about one kind.

    Args:
        plugin: the plugin.
        histories: what happens.
        clock: what goes on with every message.
    """

    def __init__(self, plugin: LoadedPlugin, histories: Histories, clock: VirtualClock) -> None:
        self.plugin = plugin
        self.histories = histories
        self.raised: list[str] = []
        """Hooks that raised what is no decision."""
        self.strays: list[str] = []
        """Answers that were not to be had: a downstream that was not offered, another one's message."""
        self._clock = clock

    async def take(
        self,
        message: Message,
        downstreams: Sequence[Downstream],
        *,
        outcome: Outcome | None = None,
        turns: int = 0,
    ) -> list[Attempt]:
        """Try one downstream after the other, as the plugin says, until one delivers.

        Args:
            message: the message.
            downstreams: all there are for it.
            outcome: of each attempt; by default, any.
            turns: how many turns of the event loop others have between two hooks, at most.

        Returns:
            The attempts.

        Raises:
            AssertionError: a hook did not end in time.
        """
        self._clock.advance(self.histories.seconds())
        left = list(downstreams)
        attempts: list[Attempt] = []
        while left:
            offered = left if outcome else self.histories.some(left)
            chosen = await self._choice(message, tuple(offered), tuple(attempts))
            await self._pause(turns)
            if chosen is None or not await self._is_prepared(message, chosen):
                break
            await self._pause(turns)
            became = outcome or self.histories.outcome()
            attempts.append(Attempt(downstream=chosen, outcome=became, seconds=self.histories.seconds()))
            await self._tell(message, attempts[-1])
            left = [one for one in left if one.name != chosen.name]
            if isinstance(became, Delivered):
                break
        return attempts

    async def _choice(
        self, message: Message, offered: tuple[Downstream, ...], attempts: tuple[Attempt, ...]
    ) -> Downstream | None:
        """What it chooses; the first, if it is no algorithm."""
        calls = tuple(self.plugin.made.calls_of("select_downstream"))
        if not calls:
            return offered[0]
        try:
            found = await calls[0]((message, offered, attempts), self.plugin.limit_s)
        except Refusal:
            return None
        except PluginError as error:
            self._failed(error, message, f"offered {_names(offered)}, after {_history(attempts)}")
            return None
        try:
            return one_of(calls[0], found, offered)
        except PluginError as error:
            self.strays.append(f"{error}; {message.id}, after {_history(attempts)}")
            return None

    async def _is_prepared(self, message: Message, chosen: Downstream) -> bool:
        try:
            changed = await self.plugin.before_send(message, chosen)
        except Refusal:
            return False
        except PluginError as error:
            self._failed(error, message, f"for {chosen.name}")
            return False
        if (changed.id, changed.user) != (message.id, message.user):
            self.strays.append(f"before_send of {message.id} returned {changed.id} of {changed.user}")
        return True

    async def _tell(self, message: Message, attempt: Attempt) -> None:
        try:
            await self.plugin.after_send(message, attempt)
        except (PluginError, Refusal) as error:
            self._failed(error, message, f"told of {_history([attempt])}")

    async def _pause(self, turns: int) -> None:
        for _ in range(self.histories.draw.randint(0, turns)):
            await asyncio.sleep(0)

    def _failed(self, error: Exception, message: Message, when: str) -> None:
        cause = error.__cause__
        if isinstance(cause, TimeoutError) and "took too long" in str(error):
            raise AssertionError(f"{error}: more than {self.plugin.limit_s:g} s, {when}") from error
        trace = "".join(traceback.format_exception(cause, limit=-_FRAMES)) if cause else ""
        self.raised.append(f"{error}; {_described(message)}, {when}\n{trace}")


def _described(message: Message) -> str:
    recipients = ", ".join(f"<{one}>" for one in message.rcpt_tos[:3])
    more = f" and {len(message.rcpt_tos) - 3} more" if len(message.rcpt_tos) > 3 else ""  # noqa: PLR2004
    return f"{message.id} from <{message.mail_from}> to {recipients}{more}, {message.size} octets"


def _names(downstreams: Sequence[Downstream]) -> str:
    return ", ".join(one.name for one in downstreams)


def _history(attempts: Sequence[Attempt]) -> str:
    return "; ".join(f"{one.downstream.name} {one.outcome}" for one in attempts) or "no attempt"
