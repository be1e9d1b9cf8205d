"""The public interface as data, and what of it a plugin would miss after a change.

`docs/plugins/api.json` is the interface as the last release had it. `python -m tests.public_api` writes
it anew while there is no release; `python -m tests.public_api --release` does so when there is one.
"""

import enum
import inspect
import json
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import smtp_router
from smtp_router import testing
from smtp_router.hooks import given, spec
from smtp_router.hooks.plugin import HOOKS

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "plugins" / "api.json"

Description = dict[str, Any]
"""What JSON can hold."""


# What there is.


def describe() -> Description:
    """All that the promise of compatibility is about."""
    return {
        "smtp_router": {name: _thing(getattr(smtp_router, name)) for name in smtp_router.__all__},
        "smtp_router.testing": {name: _thing(getattr(testing, name)) for name in testing.__all__},
        "hooks": {hook: _callable(getattr(spec, hook)) for hook in HOOKS},
        "given": dict.fromkeys(given.KINDS, "type"),
    }


def _thing(value: object) -> Description:
    """A name's value: a class, a function, or anything else, which is only told by its type."""
    if inspect.isclass(value) and not typing.get_args(value):
        return {"kind": "class", "made": _made(value), "members": dict(sorted(_members(value)))}
    if inspect.isroutine(value):
        return {"kind": "function", "call": _callable(value)}
    is_type = typing.get_origin(value) is not None
    return {"kind": "alias" if is_type else "value", "type": _type(value if is_type else type(value))}


def _made(cls: type) -> Description | None:
    """What its constructor takes; nothing, if it has none of its own, or nobody is to call it."""
    if issubclass(cls, enum.Enum) or getattr(cls, "_is_protocol", False):
        return None
    own = (base for base in cls.__mro__ if base.__module__.startswith("smtp_router"))
    return _callable(cls) if any({"__init__", "__new__"} & vars(base).keys() for base in own) else None


def _members(cls: type) -> Iterator[tuple[str, Description]]:
    """All that is public, of its bases in the package, too."""
    if issubclass(cls, enum.Enum):
        yield from ((member.name, {"value": str(member.value)}) for member in cls)
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("smtp_router"):
            continue
        for name, annotation in inspect.get_annotations(base).items():
            if name[0] != "_":
                yield name, {"type": _type(annotation)}
        for name, value in vars(base).items():
            if name[0] == "_":
                continue
            if isinstance(value, property) and value.fget:
                yield name, {"type": _type(inspect.signature(value.fget).return_annotation)}
            elif inspect.isroutine(getattr(base, name)):
                yield name, {"call": _callable(getattr(base, name))}


def _callable(function: Callable[..., Any]) -> Description:
    signature = inspect.signature(function)
    takes = {
        parameter.name: {
            "kind": parameter.kind.name.lower(),
            "type": _type(parameter.annotation),
            "needed": parameter.default is parameter.empty
            and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL},
        }
        for parameter in signature.parameters.values()
        if parameter.name != "self" and parameter.name[0] != "_"
    }
    return {"takes": takes, "returns": _type(signature.return_annotation)}


def _type(annotation: object) -> str:
    """A type in words, the same in all versions of Python."""
    if annotation is inspect.Signature.empty:
        return ""
    return re.sub(r"[\w.]+\.(?=\w)", "", inspect.formatannotation(annotation)).strip("'")


# What a change would break.


def broken(old: Description, new: Description) -> list[str]:
    """What was there and is not, or is no longer as it was, in words; additions are none of it."""
    return [
        problem
        for part in ("smtp_router", "smtp_router.testing", "hooks", "given")
        for problem in _broken(part, old[part], new[part])
    ]


def _broken(where: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(old, dict) and isinstance(new, dict):
        if "takes" in old and "takes" in new:
            yield from _broken_call(where, old["takes"], new["takes"], is_hook=where.startswith("hooks"))
        for name, value in old.items():
            if name not in new:
                yield f"{where}.{name} is gone"
            elif name != "takes":
                yield from _broken(f"{where}.{name}", value, new[name])
    elif old != new:
        yield f"{where} was {old}, and is {new}"


def _broken_call(where: str, old: Description, new: Description, *, is_hook: bool) -> Iterator[str]:
    """Whoever calls may still do so as before; a plugin's hook is called, and takes what it names."""
    for name, parameter in old.items():
        if name not in new:
            yield f"{where}: the argument {name} is gone"
        elif parameter["type"] != new[name]["type"]:
            yield f"{where}: {name} was {parameter['type']}, and is {new[name]['type']}"
        elif not is_hook and (
            parameter["kind"] != new[name]["kind"] or parameter["needed"] < new[name]["needed"]
        ):
            yield f"{where}: {name} cannot be given, or left out, as it could"
    if is_hook:
        return
    yield from (
        f"{where}: {name} is new and has no default"
        for name, parameter in new.items()
        if name not in old and parameter["needed"]
    )
    positional = [name for name, each in old.items() if "positional" in each["kind"]]
    now = [name for name, each in new.items() if "positional" in each["kind"]]
    if positional != now[: len(positional)]:
        yield f"{where}: the order of arguments was {positional}, and is {now}"


def may_break(before: str, after: str) -> bool:
    """Whether the step from one version to the other allows it; see docs/plugins/publishing.md."""
    (major, minor), (new_major, new_minor) = (
        map(int, version.split(".")[:2]) for version in (before, after)
    )
    return new_major > major or (major == new_major == 0 and new_minor > minor)


# The file.


def version() -> str:
    """The version that is being worked on."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return found


def last() -> Description:
    """The interface of the last release, `version` and `released` beside it."""
    found: Description = json.loads(FILE.read_text("utf-8"))
    return found


def write(*, released: bool) -> None:
    """Write the file.

    Raises:
        SystemExit: what was released is not changed but by a release.
    """
    if FILE.exists() and last()["released"] and not released:
        sys.exit(f"{FILE.name} is that of a release, and changes with the next one: --release")
    head: Mapping[str, object] = {"version": version(), "released": released}
    text = json.dumps({**head, **describe()}, indent=1)
    innermost = re.compile(r"\{[^{}]*\}")  # on one line each, as an argument or an attribute is read
    FILE.write_text(innermost.sub(lambda found: " ".join(found[0].split()), text) + "\n", "utf-8")


if __name__ == "__main__":
    write(released="--release" in sys.argv[1:])
