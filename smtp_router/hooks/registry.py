"""Where plugins come from: installed ones by entry point, one's own by path.

Installed does not mean active: only what a configuration names is imported.
"""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smtp_router.core.clock import Clock
from smtp_router.core.errors import PluginError
from smtp_router.hooks.constructor import Constructor
from smtp_router.hooks.files import PluginFile
from smtp_router.hooks.installed import InstalledPlugins
from smtp_router.hooks.nested import Nest
from smtp_router.hooks.plugin import (
    Plugin,
    Target,
    Validator,
    families,
    target_of,
)
from smtp_router.machine import MonotonicClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A plugin's code, found and loaded, not yet made with options.

    Args:
        name: as the configuration spells it.
        source: where it came from, for people.
        identity: equal only for the same code.
        target: the module or class.
        base: the folder that relative paths start from, also those of plugins that it makes itself.
        trust_all: whether files that others may write are taken, too.
    """

    name: str
    source: str
    identity: str
    target: Target
    base: Path
    trust_all: bool = False


class Registry:
    """Finds, loads and makes plugins; keeps files and modules between reloads."""

    def __init__(self, clock: Clock | None = None, *, seed: int | None = None) -> None:
        """Nothing is looked up yet.

        Args:
            clock: for plugins that ask for it; without one, the machine's.
            seed: makes what plugins draw repeatable; without one, it is not.
        """
        self.clock: Clock = clock or MonotonicClock()
        self._seed = seed
        self._draws = 0
        self._validator = Validator()
        self._constructors: dict[str, Constructor] = {}  # by name: of the version that was made last
        self._versions = itertools.count(1)
        self._given: dict[str, Definition] = {}
        self._files: dict[Path, PluginFile] = {}
        self._modules: dict[tuple[str, str], Plugin] = {}
        self.installed = InstalledPlugins()

    def file(self, path: Path) -> PluginFile:
        """The plugin file at this absolute path, the same object each time."""
        return self._files.setdefault(path, PluginFile(path))

    def give(self, name: str, found: object, base: Path) -> None:
        """Have a name stand for code that is at hand; given again, it is a new version of it.

        Args:
            name: what configurations say.
            found: the module or class.
            base: the folder that relative paths start from, of plugins that it makes itself.

        Raises:
            PluginError: it is no plugin.
        """
        self._given[name] = Definition(
            name=name,
            source="given",
            identity=f"given:{next(self._versions)}",
            target=target_of(name, found),
            base=base,
        )

    def rng(self) -> random.Random:
        """Chance, for one plugin."""
        self._draws += 1
        return random.Random(None if self._seed is None else f"{self._seed}/{self._draws}")  # noqa: S311 - shares, no secret

    @property
    def files(self) -> tuple[PluginFile, ...]:
        """All plugin files that were ever asked for."""
        return tuple(self._files.values())

    def find(self, name: str, base: Path, *, trust_all: bool = False) -> Definition:
        """Load a plugin's code.

        Args:
            name: an entry point's name, or a path (with a slash or ending in `.py`).
            base: the folder that a relative path starts from.
            trust_all: take files that others may write, too.

        Raises:
            PluginError: not installed, not there, not trusted, or not loadable.
        """
        if name in self._given:
            return self._given[name]
        if is_path(name):
            file = self.file(base / name)
            target = file.load(name, trust_all=trust_all)
            return Definition(
                name=name,
                source=str(file.path),
                identity=f"file:{file.digest}",
                target=target,
                base=base,
                trust_all=trust_all,
            )
        loaded = self.installed.load(name)
        return Definition(
            name=name,
            source=loaded.distribution,
            identity=f"installed:{loaded.distribution}:{loaded.value}",
            target=loaded.target,
            base=base,
            trust_all=trust_all,
        )

    def make(
        self,
        definition: Definition,
        options: Mapping[str, object],
        previous: Plugin | None = None,
        *,
        depth: int = 0,
    ) -> Plugin:
        """A plugin made with these options.

        Args:
            definition: its code.
            options: what the configuration says.
            previous: what stood in this place before; kept, with its state, when nothing changed.
            depth: how many plugins it is nested in.

        Raises:
            PluginError: the options do not fit, or its hooks are not valid.
        """
        if (
            previous
            and (previous.name, previous.identity, previous.options)
            == (
                definition.name,
                definition.identity,
                options,
            )
            and all(self._is_current(plugin, definition) for plugin in families(previous.nested))
        ):
            return previous
        shared = not isinstance(definition.target, type)
        known = self._modules.get((definition.name, definition.source)) if shared else None
        if known and known.identity == definition.identity and not options:
            return known
        nest = Nest(
            definition.name,
            lambda name, options: self._make_nested(name, options, definition, depth + 1),
            clock=self.clock,
            rng=self.rng,
            depth=depth,
        )
        plugin = self._constructor(definition).make(definition.name, options, nest)
        made = Plugin(
            name=definition.name,
            source=definition.source,
            identity=definition.identity,
            options=options,
            calls=self._validator.calls(definition.name, plugin),
            nested=nest.finished(),
        )
        if shared:
            self._modules[definition.name, definition.source] = made
        return made

    def _constructor(self, definition: Definition) -> Constructor:
        known = self._constructors.get(definition.name)
        if known is None or known.target is not definition.target:
            known = self._constructors[definition.name] = Constructor(definition.target)
        return known

    def _make_nested(
        self, name: str, options: Mapping[str, object], within: Definition, depth: int
    ) -> Plugin:
        found = self.find(name, within.base, trust_all=within.trust_all)
        return self.make(found, options, depth=depth)

    def _is_current(self, plugin: Plugin, within: Definition) -> bool:
        """Whether a nested plugin's code is still what it was made from."""
        try:
            found = self.find(plugin.name, within.base, trust_all=within.trust_all)
        except PluginError:  # told when it is made
            return False
        return found.identity == plugin.identity


def is_path(name: str) -> bool:
    """Whether a plugin is named by path: an entry point's name has no slash and no `.py`."""
    return "/" in name or name.endswith(".py")
