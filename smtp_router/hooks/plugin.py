"""From a module or a class to hooks that can be called: pluggy is the validator.

A plugin is a module with marked functions, or a class with marked methods that is made with the
options from the configuration. In both, the marker is `@hookimpl`, a hook takes any subset of its
arguments, and unknown names are refused.
"""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import pluggy

from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError
from smtp_router.hooks import spec
from smtp_router.hooks.call import Chains, HookCall
from smtp_router.hooks.given import Giver, asked_for, gifts

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


def make(name: str, target: Target, options: Mapping[str, object], giver: Giver) -> object:
    """The plugin's object: the module itself, or an instance of the class.

    Args:
        name: the plugin's name, for errors.
        target: the module or class.
        options: what the configuration says.
        giver: has what the constructor asks for beside them.

    Raises:
        PluginError: the options are not what the constructor takes, or it refused them; `key` then
            names the option.
    """
    if isinstance(target, ModuleType):
        for option in options:
            message = "is not an option: this plugin is a module, which takes none"
            raise PluginError(name, message, key=f"options.{option}")
        return target
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):  # a class of C, which says nothing about itself
        signature = inspect.Signature()
    else:
        signature = _evaluated(target, signature)
        _check_options(name, signature, options)
    try:
        return target(**options, **gifts(asked_for(signature), giver))
    except PluginError as error:  # of one that it makes for itself
        raise PluginError(
            error.plugin,
            error.message,
            file=error.file,
            line=error.line,
            key=f"options.{error.key}" if error.key else "options",
        ) from error
    except (ValueError, TypeError) as error:
        # Its own words are for its users: constructors validate by raising these.
        key = "options" if options else ""
        raise PluginError(name, f"refuses its options: {error}", key=key) from error
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(name, f"failed when it was made: {what}") from error


class Validator:
    """Checks plugin objects against the hook specifications, and takes their hooks out.

    One pluggy manager serves all plugins: making one costs more than all the rest.
    """

    def __init__(self) -> None:
        """Set up the manager."""
        self._manager = pluggy.PluginManager(spec.PROJECT)
        self._manager.add_hookspecs(spec)

    def calls(self, name: str, plugin: object) -> tuple[HookCall, ...]:
        """The hooks of a plugin object.

        Raises:
            PluginError: an unknown argument, or a marker's option that has no meaning here.
        """
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


def _evaluated(target: type, signature: inspect.Signature) -> inspect.Signature:
    """The same with annotations that are types, where they stand as text and can be looked up."""
    try:
        return inspect.signature(target, eval_str=True)
    except Exception:  # noqa: BLE001 - names that only a type checker knows
        return signature


def _check_options(name: str, signature: inspect.Signature, options: Mapping[str, object]) -> None:
    """Compare the options with the constructor's parameters."""
    given = asked_for(signature)
    parameters = [one for one in signature.parameters.values() if one.name not in given]
    for option in options:
        if option in given:
            raise PluginError(name, "is not an option: the router gives it", key=f"options.{option}")
    known = [p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for option in options:
            if option not in known:
                near = difflib.get_close_matches(option, known, 1)
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                hint = f"did you mean {near[0]}?" if near else takes
                raise PluginError(name, f"is not an option: {hint}", key=f"options.{option}")
    for parameter in parameters:
        needed = parameter.name in known and parameter.default is parameter.empty
        if needed and parameter.name not in options:
            raise PluginError(name, "is missing", key=f"options.{parameter.name}")
