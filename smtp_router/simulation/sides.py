"""The algorithms that are compared: the configuration's own, and others in its place."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smtp_router.config.load import Loaded
from smtp_router.config.scenario import plugin_use
from smtp_router.config.settings import User
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.hooks.registry import is_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of them.

    Args:
        name: what it is called.
        loaded: the configuration, with one user and this algorithm.
        source: what to name in errors; `""`: the configuration's file.
    """

    name: str
    loaded: Loaded
    source: str = ""

    def blamed(self, error: ConfigError) -> ConfigError:
        """An error about it, told of where it was named."""
        if not self.source:
            return error
        return ConfigError(Problem(file=self.source, message=one.message) for one in error.problems)


def user_of(loaded: Loaded, email: str | None) -> User:
    """The user whose mail it is.

    Raises:
        ConfigError: there is none of this name, or more than one to choose from.
    """
    users = {user.email: user for user in loaded.settings.users}
    if email in users:
        return users[email]
    if email is None and len(users) == 1:
        return next(iter(users.values()))
    names = ", ".join(users)
    message = f"no user {email}; there are: {names}" if email else f"--user, which of: {names}"
    raise ConfigError([Problem(file=str(loaded.file), message=message)])


def sides(loaded: Loaded, user: User, others: Sequence[str]) -> list[Side]:
    """The configuration's algorithm, and the others.

    Args:
        loaded: the configuration.
        user: whose algorithm it is.
        others: each as it would stand in the configuration, but that relative paths start from the
            working folder.

    Raises:
        ConfigError: one is no algorithm's name.
    """
    found = [Side(name=user.algorithm.use, loaded=_only(loaded, user))]
    for text in others:
        source = f"--compare {text}"
        use = plugin_use(text, source)
        named = use.use
        if is_path(named):
            use = replace(use, use=str(Path(os.path.abspath(named))))  # noqa: PTH100 - links stay links
        with_it = replace(user, algorithm=use)
        found.append(Side(name=named, loaded=_only(loaded, with_it), source=source))
    names = [side.name for side in found]
    return [
        replace(side, name=f"{side.name} ({position})") if names.count(side.name) > 1 else side
        for position, side in enumerate(found, 1)
    ]


def _only(loaded: Loaded, user: User) -> Loaded:
    """A configuration in which there is nobody else."""
    settings = loaded.settings
    position = [one.email for one in settings.users].index(user.email)
    alone = replace(settings, users=(user,))
    return replace(loaded, settings=alone, positions=(loaded.positions[position],))
