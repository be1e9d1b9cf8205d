"""Plugins that pip has installed, by their entry points.

Python imports a package once. So what was loaded first stays at work until the process ends, and only a
name that is new counts at a reload.
"""

import difflib
import importlib
import importlib.metadata
import logging
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint

from smtp_router.core.errors import PluginError
from smtp_router.hooks.plugin import Target, hook_names, target_of
from smtp_router.hooks.spec import PROJECT

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One installed plugin, as `smtp-router plugins` lists it.

    Args:
        name: the entry point's name, for `algorithm:` or `plugins:`.
        distribution: the distribution that brings it.
        version: the distribution's version.
        hooks: its hooks; empty when it cannot be loaded.
        summary: what it is, in the distribution's own words; `""` when it says nothing.
        homepage: where there is more; `""` when it does not say.
        error: why it cannot be loaded; `""` when it can.
    """

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    summary: str = ""
    homepage: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEntry:
    """What an entry point has led to.

    Args:
        distribution: name and version, as in `smtp-router-failover 0.1.0`.
        value: what the entry point says.
        target: the module or class.
    """

    distribution: str
    value: str
    target: Target


class InstalledPlugins:
    """Finds and imports installed plugins; only what is asked for is imported."""

    def __init__(self) -> None:
        """Nothing is looked up yet."""
        self._entry_points: Mapping[str, Sequence[EntryPoint]] | None = None
        self._looked_up: dict[str, LoadedEntry] = {}  # since the last scan
        self._loaded: dict[str, LoadedEntry] = {}
        self._told: dict[str, str] = {}

    def rescan(self) -> None:
        """Forget what there is; it is looked up again when next asked for."""
        importlib.invalidate_caches()
        self._entry_points = None
        self._looked_up.clear()

    def load(self, name: str) -> LoadedEntry:
        """Import a plugin, unless that is done.

        Raises:
            PluginError: it is not installed, or twice, or cannot be imported.
        """
        if name not in self._looked_up:
            self._looked_up[name] = self._load(name)
        return self._looked_up[name]

    def _load(self, name: str) -> LoadedEntry:
        found = self._found().get(name)
        if not found:
            raise PluginError(name, self._not_installed(name))
        if len(found) > 1:  # which one would come first is chance
            owners = " and ".join(self.owners(name))
            raise PluginError(name, f"is in {owners}; uninstall all but one")
        (entry_point,) = found
        distribution = _distribution(entry_point)
        loaded = self._loaded.get(name)
        if loaded is None:
            loaded = LoadedEntry(
                distribution=distribution, value=entry_point.value, target=_import(entry_point)
            )
            self._loaded[name] = loaded
        elif distribution not in {loaded.distribution, self._told.get(name)}:
            fields = {"plugin": name, "at_work": loaded.distribution, "installed": distribution}
            log.warning("installed plugin has changed, which takes a restart", extra={"fields": fields})
        self._told[name] = distribution
        return loaded

    def listed(self) -> Iterator[Installed]:
        """All of them, by name, each imported to see its hooks."""
        found = [each for entry_points in self._found().values() for each in entry_points]
        for entry_point in sorted(found, key=lambda each: (each.name, _distribution(each))):
            hooks: tuple[str, ...] = ()
            error = ""
            try:
                hooks = hook_names(_import(entry_point))
            except PluginError as failure:
                error = failure.message
            distribution = entry_point.dist
            yield Installed(
                name=entry_point.name,
                distribution=distribution.name if distribution else "",
                version=distribution.version if distribution else "",
                hooks=hooks,
                summary=_summary(distribution) if distribution else "",
                homepage=_homepage(distribution) if distribution else "",
                error=error,
            )

    def owners(self, name: str) -> list[str]:
        """The distributions that bring a plugin of this name, each with its version."""
        return sorted(map(_distribution, self._found().get(name, ())))

    def _found(self) -> Mapping[str, Sequence[EntryPoint]]:
        if self._entry_points is None:
            found: dict[str, list[EntryPoint]] = {}
            for entry_point in importlib.metadata.entry_points(group=PROJECT):
                found.setdefault(entry_point.name, []).append(entry_point)
            self._entry_points = found
        return self._entry_points

    def _not_installed(self, name: str) -> str:
        have = ", ".join(sorted(self._found())) or "none"
        near = difflib.get_close_matches(name, self._found(), 1)
        if near:  # a misspelt name is nothing to install: somebody else may have put that there
            return f"is not installed (installed: {have}); did you mean {near[0]}?"
        package = f"smtp-router-{name.replace('_', '-')}"
        return (
            f"is not installed (installed: {have}); try: pip install {package}; "
            f"or is it a file? Then write ./{name}.py"
        )


def _import(entry_point: EntryPoint) -> Target:
    try:
        found = entry_point.load()
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        message = f"cannot be imported from {_distribution(entry_point)}: {what}"
        raise PluginError(entry_point.name, message) from error
    return target_of(entry_point.name, found)


def _distribution(entry_point: EntryPoint) -> str:
    """`smtp-router-failover 0.1.0`."""
    distribution = entry_point.dist
    return f"{distribution.name} {distribution.version}" if distribution else entry_point.value


def _summary(distribution: Distribution) -> str:
    """One line, whatever stands there."""
    return " ".join(" ".join(_all(distribution, "Summary")).split())


def _homepage(distribution: Distribution) -> str:
    """The URL that is labelled so, or the field that was there before labels.

    Source: PyPA, Well-known Project URLs in Metadata (PEP 753): how labels are compared.
    """
    noise = str.maketrans("", "", string.punctuation + string.whitespace)
    for entry in _all(distribution, "Project-URL"):
        label, _, url = entry.partition(",")
        if label.translate(noise).lower() == "homepage":
            return url.strip()
    return " ".join(_all(distribution, "Home-page")).strip()


def _all(distribution: Distribution, field: str) -> list[str]:
    """All that stands in a field of the metadata."""
    return [str(value) for value in distribution.metadata.get_all(field, [])]
