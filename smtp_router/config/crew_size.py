"""How many workers there are to be, and what of a configuration they could not divide."""

from collections.abc import Sequence

from smtp_router.config.key_path import KeyPath
from smtp_router.config.load import Loaded
from smtp_router.core.errors import Problem

_TOO_FEW = "{} is less than the {} workers, each of which needs one: raise it, or lower workers"


def crew_size(loaded: Loaded, cores: int) -> int:
    """How many workers a configuration asks for.

    `auto` is one for each core, but no more than there are connections for, to each downstream: whoever
    says nothing exact gets what works.
    """
    settings = loaded.settings
    if settings.workers != "auto":
        return settings.workers
    pools = [one.pool.max_connections for user in settings.users for one in user.downstreams]
    return min(cores, *pools)


def indivisible(loaded: Loaded, workers: int) -> Sequence[Problem]:
    """The downstreams that may have fewer connections than there are workers: one would have none."""
    found: list[tuple[KeyPath, str]] = [
        (
            ("users", index, "downstreams", position, "pool", "max_connections"),
            _TOO_FEW.format(downstream.pool.max_connections, workers),
        )
        for index, user in zip(loaded.positions, loaded.settings.users, strict=True)
        for position, downstream in enumerate(user.downstreams)
        if downstream.pool.max_connections < workers
    ]
    return loaded.problems(found) if found else ()
