"""Algorithms within algorithms: how a plugin makes others, and how it asks them."""

import inspect
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from smtp_router.core.clock import Clock
from smtp_router.core.composition import Algorithm, Algorithms
from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt
from smtp_router.core.trace import speaking_as
from smtp_router.hooks.call import HookCall, one_of
from smtp_router.hooks.plugin import Plugin

MAX_DEPTH = 10
"""A plugin that makes itself would otherwise go on until the stack ends."""


class Nest:
    """What one plugin is given while it is made, and the plugins that it makes; see `Giver`."""

    def __init__(
        self,
        name: str,
        make: Callable[[str, Mapping[str, object]], Plugin],
        *,
        clock: Clock,
        rng: Callable[[], random.Random],
        depth: int,
    ) -> None:
        """Nothing is made yet.

        Args:
            name: of the plugin that is being made.
            make: finds a plugin by name or path and makes it with options.
            clock: for the plugin.
            rng: makes chance for the plugin.
            depth: how many others the plugin is nested in.
        """
        self._name = name
        self._make = make
        self._depth = depth
        self._made: list[Plugin] = []
        self._is_finished = False
        self.clock = clock
        self.rng = rng

    @property
    def algorithms(self) -> Algorithms:
        """Makes other algorithms."""
        return self

    def make(self, use: object, *, at: str) -> Algorithm:
        """See `Algorithms`."""
        if self._is_finished:
            raise PluginError(self._name, "makes an algorithm too late: only its constructor may")
        name, options = self._read(use, at)
        if self._depth >= MAX_DEPTH:
            message = f"is nested more than {MAX_DEPTH} deep; does it contain itself?"
            raise PluginError(name, message, key=at)
        try:
            plugin = self._make(name, options)
            calls = tuple(plugin.calls_of("select_downstream"))
            if not calls:
                raise PluginError(name, "is no algorithm: it has no select_downstream hook")
        except PluginError as error:
            raise PluginError(
                error.plugin,
                error.message,
                file=error.file,
                line=error.line,
                key=f"{at}.{error.key}" if error.key else at,
            ) from error
        self._made.append(plugin)
        return Nested(name=name, call=calls[0])

    def finished(self) -> tuple[Plugin, ...]:
        """All that were made; from now on no others are."""
        self._is_finished = True
        return tuple(self._made)

    def _read(self, use: object, at: str) -> tuple[str, Mapping[str, object]]:
        """Name and options, of what stands in the configuration."""
        if isinstance(use, str) and use:
            return use, {}
        if not isinstance(use, Mapping) or not isinstance(use.get("use"), str) or not use["use"]:
            message = "must be an algorithm's name or path, or {use: NAME, options: {…}}"
            raise PluginError(self._name, message, key=at)
        for key in use:
            if key not in ("use", "options"):
                message = "is not known here: an algorithm has use and options"
                raise PluginError(self._name, message, key=f"{at}.{key}")
        options = use.get("options", {})
        if not isinstance(options, Mapping):
            raise PluginError(self._name, "must be a mapping", key=f"{at}.options")
        return use["use"], options


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """An algorithm as the one around it sees it; see `Algorithm`."""

    name: str
    call: HookCall

    def select_downstream(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Downstream | Awaitable[Downstream | None] | None:
        """See `Algorithm`."""
        with speaking_as(self.call.who) as trace:
            found = self.call.begin((message, downstreams, attempts), trace)
            if inspect.isawaitable(found):
                return self._awaited(found, downstreams)
            return one_of(self.call, found, downstreams, trace)

    async def _awaited(
        self, found: Awaitable[object], downstreams: Sequence[Downstream]
    ) -> Downstream | None:
        """Wait for it, for as long as the one around it may take."""
        with speaking_as(self.call.who) as trace:
            try:
                chosen = await found
            except BaseException as error:
                failure = self.call.failure(error, trace)
                if failure is None:
                    raise
                raise failure from error
            return one_of(self.call, chosen, downstreams, trace)
