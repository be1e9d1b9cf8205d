"""What users have in common is kept once: ten thousand of them say much the same."""

from collections.abc import Iterable

from smtp_router.config.plugin_use import PluginUse
from smtp_router.config.settings import User


def share(users: Iterable[User]) -> None:
    """Let users with the same algorithm, without options, have the same object."""
    known: dict[str, PluginUse] = {}
    for user in users:
        if not user.algorithm.options:
            once = known.setdefault(user.algorithm.use, user.algorithm)
            object.__setattr__(user, "algorithm", once)
