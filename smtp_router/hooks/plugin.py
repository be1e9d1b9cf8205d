"""From a module or a class to hooks that can be called: pluggy is the validator.

A plugin is a module with marked functions, or a class with marked methods that is made with the
options from the configuration. In both, the marker is `@hookimpl`, a hook takes any subset of its
arguments, and unknown names are refused.
"""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType

import pluggy

from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError
from smtp_router.hooks import spec
from smtp_router.hooks.call import Chains, HookCall

Target = ModuleType | type

HOOKS: Mapping[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(function).parameters)
    for name, function in (
        ("select_downstream", spec.select_downstream),
        ("before_send", spec.before_send),
        ("after_send", spec.after_send),
        ("check_downstreams", spec.check_downstreams),
        ("close", spec.close),
    )
}
"""Every hook with its arguments, in order."""

_UNSUPPORTED = ("tryfirst", "trylast", "wrapper", "hookwrapper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin that is ready to be called.

    Args:
        name: as the configuration spells it.
        source: where it came from, for people.
        identity: equal only for the same code; with the options, it decides whether a reload keeps
            the plugin as it is.
        options: what it was made with.
        calls: its hooks.
        nested: the algorithms that it has made for itself.
    """

    name: str
    source: str
    identity: str
    options: Mapping[str, object] = field(repr=False)
    calls: tuple[HookCall, ...]
    nested: tuple["Plugin", ...] = ()

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks it has."""
        return tuple(call.hook for call in self.calls)

    def calls_of(self, hook: str) -> Iterator[HookCall]:
        """Its implementation of a hook, if it has one."""
        return (call for call in self.calls if call.hook == hook)


def families(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Plugins in their order, each behind those it has made for itself, and each once."""
    found: dict[int, Plugin] = {}
    for plugin in plugins:
        for one in (*families(plugin.nested), plugin):
            found.setdefault(id(one), one)
    return tuple(found.values())


def chains(plugins: tuple[Plugin, ...], timeout_s: float) -> Chains:
    """The hooks of several plugins, in their order; whoever is nested is asked by whom it belongs to."""
    everyone = families(plugins)
    return Chains(
        select=tuple(call for plugin in plugins for call in plugin.calls_of("select_downstream")),
        before=tuple(call for plugin in everyone for call in plugin.calls_of("before_send")),
        after=tuple(call for plugin in everyone for call in plugin.calls_of("after_send")),
        timeout_s=timeout_s,
    )


def check_downstreams(plugin: Plugin, downstreams: Sequence[Downstream]) -> None:
    """Let a plugin look at a user's downstreams.

    Raises:
        PluginError: it refuses them, or cannot check.
    """
    for call in plugin.calls_of("check_downstreams"):
        try:
            result = call.function(*[downstreams for _ in call.arguments])
        except (ValueError, TypeError) as error:
            raise PluginError(plugin.name, str(error)) from error
        except BaseException as error:
            what = f"{type(error).__name__}: {error}"
            raise PluginError(plugin.name, f"{call.hook} failed: {what}") from error
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise PluginError(plugin.name, f"{call.hook} is async, and has to be a plain def")


def target_of(name: str, found: object) -> Target:
    """What the plugin is: the module, or the one class in it that has hooks.

    Args:
        name: the plugin's name, for errors.
        found: a module or a class.

    Raises:
        PluginError: neither, without a hook or with an unknown one, or with more than one class to
            choose from.
    """
    target = _target_in(name, found)
    for hook in hook_names(target):
        if hook not in HOOKS:
            near = difflib.get_close_matches(hook, HOOKS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the hooks are {', '.join(HOOKS)}"
            raise PluginError(name, f"{hook} is not a hook: {hint}")
    return target


def _target_in(name: str, found: object) -> Target:
    if isinstance(found, type):
        if not hook_names(found):
            raise PluginError(name, _no_hook(found))
        return found
    if not isinstance(found, ModuleType):
        raise PluginError(name, f"is neither a module nor a class, but a {type(found).__name__}")
    if hook_names(found):
        return found
    classes = [
        value
        for key, value in vars(found).items()
        if isinstance(value, type)
        and not key.startswith("_")
        and value.__module__ == found.__name__
        and hook_names(value)
    ]
    match classes:
        case [only]:
            return only
        case []:
            raise PluginError(name, _no_hook(found))
        case _:
            names = ", ".join(cls.__name__ for cls in classes)
            message = f"has more than one class with hooks ({names}); one file, one plugin"
            raise PluginError(name, message)


def hook_names(target: Target) -> tuple[str, ...]:
    """The names under which a module or class has marked functions, in the order of the hooks."""
    marked = set()
    for key in dir(target):
        value = inspect.getattr_static(target, key, None)
        function = getattr(value, "__func__", value)  # behind @staticmethod and @classmethod
        options = getattr(function, f"{spec.PROJECT}_impl", None)
        if isinstance(options, dict):
            marked.add(options.get("specname") or key)
    return tuple(hook for hook in HOOKS if hook in marked) + tuple(sorted(marked - set(HOOKS)))


class Validator:
    """Checks plugin objects against the hook specifications, and takes their hooks out.

    One pluggy manager serves all plugins: making one costs more than all the rest. And pluggy looks at
    one instance of a class, not at each: that took half a millisecond, for every one of ten thousand
    users.
    """

    def __init__(self) -> None:
        """Set up the manager."""
        self._manager = pluggy.PluginManager(spec.PROJECT)
        self._manager.add_hookspecs(spec)
        self._layouts: dict[str, _Layout] = {}  # by name: a new version of a class replaces the old one

    def calls(self, name: str, plugin: object) -> tuple[HookCall, ...]:
        """The hooks of a plugin object.

        Raises:
            PluginError: an unknown argument, or a marker's option that has no meaning here.
        """
        layout = self._layouts.get(name)
        if layout and layout.fits(plugin):
            return layout.calls_of(plugin)
        calls = self._looked_up(name, plugin)
        layout = _Layout(plugin, calls)
        if layout.fits(plugin):
            self._layouts[name] = layout
        return calls

    def _looked_up(self, name: str, plugin: object) -> tuple[HookCall, ...]:
        try:
            self._manager.register(plugin, name)
            calls = tuple(
                _hook_call(name, hook, impl)
                for hook in HOOKS
                for impl in getattr(self._manager.hook, hook).get_hookimpls()
            )
        except pluggy.PluginValidationError as error:
            raise PluginError(name, str(error)) from error
        finally:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
        found = {call.hook for call in calls}
        for hook in hook_names(plugin if isinstance(plugin, ModuleType) else type(plugin)):
            if hook not in found:
                message = f"{hook} is marked, but is no function: put @hookimpl on a def"
                raise PluginError(name, message)
        return calls


class _Layout:
    """The hooks of a class, for all its instances that have none of their own."""

    __slots__ = ("_calls", "_kind", "_names", "_own_only")

    def __init__(self, plugin: object, calls: Iterable[HookCall]) -> None:
        """Take them from the calls of one instance, which is not kept."""
        self._kind = type(plugin)
        self._names = frozenset(dir(self._kind))
        self._own_only = isinstance(plugin, ModuleType) or any(
            isinstance(value, MemberDescriptorType)  # of __slots__, which may hold functions, too
            for kind in self._kind.__mro__
            for value in vars(kind).values()
        )
        self._calls = tuple(
            (replace(call, function=call.function.__func__), True)
            if isinstance(call.function, MethodType) and call.function.__self__ is plugin
            else (call, False)
            for call in calls
        )

    def fits(self, plugin: object) -> bool:
        """Whether an object has these hooks, and no others: nothing that it keeps could be one."""
        if self._own_only or type(plugin) is not self._kind:
            return False
        try:
            own: Mapping[str, object] = object.__getattribute__(plugin, "__dict__")
        except AttributeError:
            return True
        return self._names.isdisjoint(own) and not any(
            isinstance(value, FunctionType | MethodType) for value in own.values()
        )

    def calls_of(self, plugin: object) -> tuple[HookCall, ...]:
        """The hooks of an object that it fits."""
        return tuple(
            HookCall(
                plugin=call.plugin,
                hook=call.hook,
                function=MethodType(call.function, plugin) if binds else call.function,
                arguments=call.arguments,
                shared=call.answers,
            )
            for call, binds in self._calls
        )


def _hook_call(name: str, hook: str, impl: pluggy.HookImpl) -> HookCall:
    for option in _UNSUPPORTED:
        if getattr(impl, option, False):
            message = f"{hook} is marked {option}, but the order is the configuration's: remove it"
            raise PluginError(name, message)
    order = HOOKS[hook]
    return HookCall(
        plugin=name,
        hook=hook,
        function=impl.function,
        arguments=tuple(map(order.index, impl.argnames)),
    )


def _no_hook(target: Target) -> str:
    unmarked = [hook for hook in HOOKS if callable(getattr(target, hook, None))]
    if unmarked:
        return f"{unmarked[0]} is not marked: put @hookimpl above it"
    return f"has no hook: mark a function with @hookimpl (the hooks are {', '.join(HOOKS)})"
