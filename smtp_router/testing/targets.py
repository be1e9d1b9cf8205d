"""All the ways to name a plugin in a test: class, module, file, entry point, or an object as it is."""

from pathlib import Path
from types import ModuleType

from smtp_router.hooks.registry import Definition, Registry


def is_ready(target: object) -> bool:
    """Whether it is an object that has its hooks already, and not what one is made from."""
    return not isinstance(target, str | Path | ModuleType | type)


def definition_of(target: object, registry: Registry) -> Definition:
    """A plugin's code, by any of the ways to name it.

    Raises:
        PluginError: there is no such plugin, or it cannot be loaded.
    """
    name = str(target.absolute()) if isinstance(target, Path) else target
    if not isinstance(name, str):
        name = name_of(target)
        registry.give(name, target, Path.cwd())
    return registry.find(name, Path.cwd())


def name_of(target: object) -> str:
    """What a class or module is called where it has no other name."""
    return str(getattr(target, "__name__", target)).rpartition(".")[2]
