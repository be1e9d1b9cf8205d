"""Plugins made as the router makes them, from whatever an author has at hand."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType, MethodType
from typing import Any

from smtp_router.core.clock import Clock
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt
from smtp_router.hooks.plugin import (
    Plugin,
    Target,
    Validator,
    chains,
    check_downstreams,
    families,
    target_of,
)
from smtp_router.hooks.registry import Registry
from smtp_router.testing.clock import VirtualClock
from smtp_router.testing.targets import definition_of, is_ready
from smtp_router.testing.watched import LIMIT_S

NO_OPTIONS: Mapping[str, object] = MappingProxyType({})


class LoadedPlugin:
    """A plugin as the router has it; its hooks are called, and what they return is checked, likewise.

    A hook that it does not have does what the router does without it: nothing.
    """

    def __init__(self, plugin: Plugin, instance: object, limit_s: float = LIMIT_S) -> None:
        """Use `make_plugin`.

        Args:
            plugin: what the router has.
            instance: the object that the hooks belong to.
            limit_s: how long an `async` hook may take, in seconds.
        """
        self.made: Plugin = plugin
        self.instance: Any = instance
        """The author's own object: an instance of the class, or the module."""
        self.limit_s: float = limit_s
        self._chains = chains((plugin,), limit_s)

    @property
    def name(self) -> str:
        """Its name, in errors."""
        return self.made.name

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks it has."""
        return self.made.hooks

    async def select_downstream(
        self,
        downstreams: Sequence[Downstream],
        *,
        message: Message,
        attempts: Sequence[Attempt] = (),
    ) -> Downstream | None:
        """Ask it.

        Raises:
            Defer, Reject: its decision.
            PluginError: it failed, or returned what was not offered.
        """
        return await self._chains.select_downstream(message, tuple(downstreams), tuple(attempts))

    async def before_send(self, message: Message, downstream: Downstream) -> Message:
        """Let it change the message.

        Raises:
            Defer, Reject: its decision.
            PluginError: it failed, or returned no message that can be sent.
        """
        return await self._chains.before_send(message, downstream)

    async def after_send(self, message: Message, attempt: Attempt) -> None:
        """Tell it.

        Raises:
            PluginError: it failed, which the router would log.
        """
        for call in self._chains.after:
            await call((message, attempt), self.limit_s)

    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        """Let it look at a user's downstreams.

        Raises:
            PluginError: it refuses them.
        """
        for plugin in families((self.made,)):
            check_downstreams(plugin, tuple(downstreams))

    async def close(self) -> None:
        """Tell it that it is not used any more.

        Raises:
            PluginError: it failed, which the router would log.
        """
        for plugin in families((self.made,)):
            for call in plugin.calls_of("close"):
                await call((), self.limit_s)


def make_plugin(
    target: object,
    options: Mapping[str, object] | None = None,
    *,
    clock: Clock | None = None,
    seed: int = 1,
    downstreams: Sequence[Downstream] = (),
    limit_s: float = LIMIT_S,
) -> LoadedPlugin:
    """A plugin, made with its options exactly as the router does.

    Args:
        target: a class or a module; the name of an installed plugin; the path of a file; or an object
            that is made already and takes no options.
        options: what the configuration says under `options`.
        clock: what it gets if it asks for a `Clock`; by default a `VirtualClock`.
        seed: of the `random.Random` that it gets if it asks for one.
        downstreams: what its `check_downstreams` is to look at; none: it is not called.
        limit_s: how long an `async` hook may take, in seconds.

    Raises:
        PluginError: it cannot be used, or refuses its options or the downstreams; says why.
    """
    if is_ready(target):
        loaded = _as_it_is(target, options, limit_s)
    else:
        registry = Registry(clock or VirtualClock(), seed=seed)
        definition = definition_of(target, registry)
        plugin = registry.make(definition, options or NO_OPTIONS)
        loaded = LoadedPlugin(plugin, _instance(plugin, definition.target), limit_s)
    if downstreams:
        loaded.check_downstreams(downstreams)
    return loaded


def _as_it_is(target: object, options: Mapping[str, object] | None, limit_s: float) -> LoadedPlugin:
    name = type(target).__name__
    if options:
        raise TypeError(f"a {name} that is made already takes no options")
    target_of(name, type(target))
    calls = Validator().calls(name, target)
    plugin = Plugin(name=name, source="a test", identity="", options=NO_OPTIONS, calls=calls)
    return LoadedPlugin(plugin, target, limit_s)


def _instance(plugin: Plugin, target: Target) -> object:
    """The object that hooks belong to, as far as they say so: static ones do not."""
    owners = (call.function.__self__ for call in plugin.calls if isinstance(call.function, MethodType))
    return next((owner for owner in owners if not isinstance(owner, type)), target)
