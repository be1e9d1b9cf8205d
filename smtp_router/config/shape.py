"""What a configuration that is handed over is made of, so that two processes mean the same by it.

A router may have been upgraded on the disk since it was started. Who reads for it is a version newer
then, and pickled values are told apart by their order alone.
"""

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from smtp_router.config.load import Loaded


def shape() -> Mapping[str, tuple[str, ...]]:
    """The fields of every class that there is below `Loaded`."""
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[object] = [Loaded]
    while waiting:
        part = waiting.pop()
        if isinstance(part, type) and is_dataclass(part):
            name = f"{part.__module__}.{part.__qualname__}"
            if name not in found:
                found[name] = tuple(field.name for field in fields(part))
                waiting += [field.type for field in fields(part)]
        else:
            waiting += typing.get_args(part)
    return found
