"""What an object holds, as a value that can be compared: to see whether a call has changed it."""

import random
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MethodType, ModuleType
from typing import Any, Final

_MUTABLE: Final = (list, dict, set, deque, bytearray, random.Random)


def state_of(thing: object) -> object:
    """Everything that can be reached from an object's attributes.

    Of objects of other packages, only how they print counts: a logger leads to all others there are.
    """
    return _Look(type(thing).__module__).at(thing)


def shared_state_of(cls: type) -> object:
    """What a class keeps in itself, and so for all of its objects."""
    look = _Look(cls.__module__)
    return [
        (key, look.at(value))
        for one in cls.__mro__[:-1]
        for key, value in vars(one).items()
        if isinstance(value, _MUTABLE)
    ]


class _Look:
    """One look at an object and all it holds."""

    def __init__(self, module: str) -> None:
        self._home = module.partition(".")[0]
        self._seen: dict[int, tuple[int, object]] = {}

    def at(self, thing: object) -> object:
        parts = self._parts(thing)
        if (
            parts is None
        ):  # its text says all: numbers, text, `itertools.count`, which shows where it stands
            return repr(thing)
        if id(thing) not in self._seen:
            self._seen[id(thing)] = len(self._seen), thing  # which so keeps its identity until the end
            return type(thing), [self.at(part) for part in parts]
        return self._seen[id(thing)][0]

    def _parts(self, thing: Any) -> Iterable[object] | None:  # noqa: ANN401 - anything
        match thing:
            case str() | bytes() | Enum() | type() | ModuleType():
                return None
            case Mapping():
                return list(thing.items())
            case list() | tuple() | deque() | set() | frozenset():
                return thing
            case random.Random():
                return thing.getstate()
            case MethodType():
                return [thing.__self__]
            case _:
                pass
        is_own = type(thing).__module__.partition(".")[0] == self._home
        return list(_attributes(thing).items()) or None if is_own else None


def _attributes(thing: object) -> dict[str, object]:
    slots = (cls.__dict__.get("__slots__", ()) for cls in type(thing).__mro__)
    names = [name for one in slots for name in ((one,) if isinstance(one, str) else one)]
    return {
        **{name: getattr(thing, name) for name in names if hasattr(thing, name)},
        **getattr(thing, "__dict__", {}),
    }
