"""Settings and compiled plugins together: immutable, numbered, built aside and then swapped in.

A message keeps the epoch it started with. Building one reports every problem it finds, and takes over
from the epoch before it all that did not change: plugins with their state, downstreams with their
figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from smtp_router.config.key_path import KeyPath
from smtp_router.config.load import Loaded
from smtp_router.config.plugin_use import PluginUse
from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings, User
from smtp_router.core.decision import Limits
from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import ConfigError, PluginError
from smtp_router.core.outcome import Attempt
from smtp_router.credentials import Kind, kind_of
from smtp_router.hooks.call import Chains
from smtp_router.hooks.files import PluginFile
from smtp_router.hooks.plugin import Plugin, chains, check_downstreams, families
from smtp_router.hooks.registry import Registry, is_path
from smtp_router.routing.policy import Networks
from smtp_router.routing.target import Target
from smtp_router.routing.targets import Targets
from smtp_router.routing.trial import Canary, Shadow

_NO_FILES: Mapping[PluginFile, str] = MappingProxyType({})


Offer = tuple[tuple[Downstream, ...], bool, int]
"""What the plugins may choose from: those worth trying for this message, whether they are those that
rest (no others are left), and how many are left to try in all, the resting ones among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """All that routing one user's mail takes.

    Args:
        user: the user's settings.
        targets: the downstreams by name, in the configuration's order.
        plugins: `plugins` in order, the algorithm last.
        chains: their hooks, compiled.
        files: the plugin files among them, which are looked at before every message, each with the
            version that was there when this was built.
        limits: how far the router goes for a message, by a clock that begins with it.
        shadow: a candidate that is asked along.
        canary: a candidate that chooses for some of the messages.
    """

    user: User
    targets: Mapping[str, Target]
    plugins: tuple[Plugin, ...]
    chains: Chains
    files: Mapping[PluginFile, str]
    limits: Limits
    shadow: Shadow | None = None
    canary: Canary | None = None
    _in_order: tuple[Target, ...] = field(init=False, repr=False, compare=False)
    """The targets: a method of a read-only mapping takes seven times as long as that of a dict."""

    def __post_init__(self) -> None:
        """Keep what is asked for at each message."""
        object.__setattr__(self, "_in_order", tuple(self.targets.values()))

    @property
    def all_plugins(self) -> tuple[Plugin, ...]:
        """All plugins, candidates and nested ones among them."""
        candidates = [trial.plugin for trial in (self.shadow, self.canary) if trial]
        return families((*self.plugins, *candidates))

    def left(self, attempts: Sequence[Attempt]) -> list[Target]:
        """Those not yet tried, in the configuration's order."""
        tried = {attempt.downstream.name for attempt in attempts}
        return [target for name, target in self.targets.items() if name not in tried]

    def offer(self, attempts: Sequence[Attempt], now: float) -> Offer:
        """The downstreams still worth trying, with their health as it is now.

        Of those that have room, in the configuration's order, the ones that do not rest. If all do, all
        of them, the one that failed least recently first: resting never answers for a downstream.
        """
        fit: list[Downstream] = []
        resting: list[Target] = []
        for target in self.left(attempts) if attempts else self._in_order:
            offered = target.offered(now)
            if offered is not None:
                fit.append(offered)
            elif target.has_room(now):
                resting.append(target)
        if fit:
            return tuple(fit), False, len(fit) + len(resting)
        resting.sort(key=lambda target: target.failed_at)
        return tuple([target.seen(now) for target in resting]), True, len(resting)

    def is_stale(self) -> bool:
        """Whether a plugin's file has changed, or is just being loaded again."""
        return not all(map(PluginFile.is_still, self.files, self.files.values()))


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Epoch:
    """One state of the whole router.

    Args:
        number: counted from 1.
        loaded: the configuration it was built from.
        settings: those in it.
        routes: by login name.
        password_kinds: the forms in which passwords are stored.
        networks: whose the clients from certain addresses are.
        shared: what the targets of all epochs share.
        plugin_files: all plugin files that it was built from.
    """

    number: int
    loaded: Loaded
    settings: Settings
    routes: Mapping[str, Route]
    password_kinds: frozenset[Kind]
    networks: Networks
    shared: Targets
    plugin_files: frozenset[PluginFile]


def build(
    loaded: Loaded,
    registry: Registry,
    previous: Epoch | None = None,
    *,
    shared: Targets | None = None,
) -> Epoch:
    """Load every plugin that a configuration names, and compile all routes.

    Args:
        loaded: the checked configuration.
        registry: where plugins come from.
        previous: the epoch at work, to take over what did not change.
        shared: for the first one: what the targets of all share.

    Raises:
        ConfigError: with every plugin that cannot be used, and why.
    """
    registry.installed.rescan()
    problems: list[tuple[KeyPath, str]] = []
    shared = previous.shared if previous else shared or Targets()
    folder = loaded.folder
    routes = {}
    for index, user in zip(loaded.positions, loaded.settings.users, strict=True):
        old = previous.routes.get(user.email) if previous else None
        builder = _RouteBuilder(
            loaded, registry, user, old, ("users", index), folder=folder, shared=shared
        )
        routes[user.email] = builder.build()
        problems += builder.problems
    if problems:
        raise ConfigError(loaded.problems(problems))
    number = previous.number + 1 if previous else 1
    kinds = frozenset(kind_of(user.password.reveal()) for user in loaded.settings.users)
    return Epoch(
        number=number,
        loaded=loaded,
        settings=loaded.settings,
        routes=MappingProxyType(routes),
        password_kinds=kinds,
        networks=Networks(loaded.settings.users),
        shared=shared,
        plugin_files=frozenset(file for route in routes.values() for file in route.files),
    )


class _RouteBuilder:
    """Builds one user's route."""

    def __init__(
        self,
        loaded: Loaded,
        registry: Registry,
        user: User,
        old: Route | None,
        path: KeyPath,
        *,
        folder: Path,
        shared: Targets,
    ) -> None:
        self.loaded = loaded
        self.folder = folder
        self.registry = registry
        self.shared = shared
        self.user = user
        self.old = old
        self.path = path
        self.problems: list[tuple[KeyPath, str]] = []
        self._unclaimed = list(self.old.all_plugins) if self.old else []

    def build(self) -> Route:
        targets = MappingProxyType({s.name: self._target(s) for s in self.user.downstreams})
        downstreams = tuple(target.described for target in targets.values())
        user = self.user
        uses: list[tuple[KeyPath, PluginUse]] = [
            (("plugins", index), use) for index, use in enumerate(user.plugins)
        ]
        others = [self._plugin(path, use, downstreams) for path, use in uses]
        plugins = tuple(plugin for plugin in others if plugin)
        algorithm = self._algorithm("algorithm", user.algorithm, downstreams)
        asked_along = self._algorithm("shadow", user.shadow, downstreams)
        shadow = self._shadow(asked_along) if asked_along else None
        candidate = user.canary.plugin if user.canary else None
        canary = self._algorithm("canary", candidate, downstreams)
        route = Route(
            user=user,
            targets=targets,
            plugins=(*plugins, algorithm) if algorithm else plugins,
            chains=self._chains(plugins, algorithm, canary, shadow),
            files=_NO_FILES,
            limits=Limits(
                deadline=self.loaded.settings.deadline_s,
                downstreams=len(targets),
                failover_on=user.outcomes_that_fail_over,
                accepts_in_doubt=user.in_doubt == "accept",
            ),
            shadow=shadow,
            canary=self._canary(canary, self._chains(plugins, canary, algorithm, shadow))
            if canary
            else None,
        )
        names = dict.fromkeys(plugin.name for plugin in route.all_plugins if is_path(plugin.name))
        if not names:
            return route
        files = [self.registry.file(self.folder / name) for name in names]
        return replace(route, files=MappingProxyType({file: file.seen for file in files}))

    def _chains(
        self,
        plugins: tuple[Plugin, ...],
        asked: Plugin | None,
        told: Plugin | None,
        shadow: Shadow | None,
    ) -> Chains:
        """The hooks of all: one algorithm chooses, and others are told what comes of it."""
        timeout_s = self.loaded.settings.hook_timeout_s
        found = chains((*plugins, asked) if asked else plugins, timeout_s)
        if told is not None:
            everyone = tuple(plugin for plugin in (*plugins, told, asked) if plugin)
            found = replace(chains(everyone, timeout_s), select=found.select)
        return shadow.told_first(found) if shadow else found

    def _shadow(self, plugin: Plugin) -> Shadow:
        before, timeout_s = self.old.shadow if self.old else None, self.loaded.settings.hook_timeout_s
        if before and before.plugin is plugin and before.timeout_s == timeout_s:
            return before
        return Shadow(plugin, timeout_s)

    def _canary(self, plugin: Plugin, compiled: Chains) -> Canary:
        assert self.user.canary is not None
        return Canary(plugin, compiled, self.user.canary.percent / 100)

    def _target(self, settings: DownstreamSettings) -> Target:
        return self.shared.make(self.user.email, settings, self.loaded.settings)

    def _algorithm(
        self, key: str, use: PluginUse | None, downstreams: Sequence[Downstream]
    ) -> Plugin | None:
        if use is None:
            return None
        plugin = self._plugin((key,), use, downstreams)
        if plugin and "select_downstream" not in plugin.hooks:
            message = f"{use.use}: is no algorithm: it has no select_downstream hook"
            self._problem((key,), message)
        return plugin

    def _plugin(self, path: KeyPath, use: PluginUse, downstreams: Sequence[Downstream]) -> Plugin | None:
        trust_all = self.loaded.settings.allow_writable_plugins
        try:
            definition = self.registry.find(use.use, self.folder, trust_all=trust_all)
            plugin = self.registry.make(definition, use.options, self._previous(use))
        except PluginError as error:
            keys = tuple(error.key.split(".")) if error.key else ()
            message = f"{error.plugin}: {error.message}"
            if error.file:
                message += f" ({error.file}:{error.line})"
            self._problem((*path, *keys), message)
            return None
        for one in families((plugin,)):
            try:
                check_downstreams(one, downstreams)
            except PluginError as error:
                self._problem(path, f"{error.plugin}: {error.message}")
        return plugin

    def _problem(self, path: KeyPath, message: str) -> None:
        self.problems.append(((*self.path, *path), message))

    def _previous(self, use: PluginUse) -> Plugin | None:
        """What was made for the same words before; each only once, wherever it stands now."""
        for plugin in self._unclaimed:
            if (plugin.name, plugin.options) == (use.use, use.options):
                self._unclaimed.remove(plugin)
                return plugin
        return None
