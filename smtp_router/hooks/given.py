"""What a plugin's constructor is given, beside its options: time, chance, other algorithms.

A parameter asks for it by its annotation, so it can have any name, and is no option.
"""

import inspect
import random
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Protocol, Union, get_args, get_origin

from smtp_router.core.clock import Clock
from smtp_router.core.composition import Algorithms

KINDS: Mapping[str, type] = {kind.__name__: kind for kind in (Algorithms, Clock, random.Random)}


class Giver(Protocol):
    """Has what constructors ask for."""

    @property
    def clock(self) -> Clock:
        """The router's clock, or a simulation's."""
        ...

    @property
    def algorithms(self) -> Algorithms:
        """Makes other algorithms for this plugin."""
        ...

    def rng(self) -> random.Random:
        """Chance, of this plugin's own."""
        ...


def asked_for(signature: inspect.Signature) -> Mapping[str, type]:
    """Which parameters are no options, with the kind of thing that each wants."""
    return {
        name: kind
        for name, parameter in signature.parameters.items()
        if (kind := _kind(parameter.annotation)) is not None
    }


def gifts(wanted: Mapping[str, type], giver: Giver) -> dict[str, object]:
    """What they get."""
    makers: Mapping[type, Callable[[], object]] = {
        Algorithms: lambda: giver.algorithms,
        Clock: lambda: giver.clock,
        random.Random: giver.rng,
    }
    return {name: makers[kind]() for name, kind in wanted.items()}


def _kind(annotation: object) -> type | None:
    """One of `KINDS`, also as text (`from __future__ import annotations`) or beside `None`."""
    if isinstance(annotation, str):
        words = [word.strip().rpartition(".")[2] for word in annotation.split("|")]
        return next((KINDS[word] for word in words if word in KINDS), None)
    either = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return next((kind for kind in KINDS.values() if kind in either), None)
