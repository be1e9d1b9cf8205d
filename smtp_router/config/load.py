"""A configuration that has been read, and how it comes to be.

To read one takes pydantic and PyYAML, which are 15 MiB; to go by it takes neither. So they are imported
when something is read, and a router that runs has that done elsewhere (`smtp_router.config.aside`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from smtp_router.config.key_path import KeyPath
from smtp_router.config.settings import Settings
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.disk import Watch

ALIASES = {"selector_algo_path": "algorithm"}
"""Other spellings of a user's keys."""


class InvalidConfigError(ConfigError):
    """A configuration with problems, and what can be used of it all the same.

    Args:
        problems: every one that was found.
        usable: the users without a problem, so that their plugins can be checked, too.
    """

    def __init__(self, problems: Iterable[Problem], usable: "Loaded") -> None:
        """See the class."""
        super().__init__(problems)
        self.usable = usable


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration with where it came from.

    Args:
        settings: the checked settings.
        file: the configuration file.
        watches: all files that it was made from, as they were read; a reload looks at them.
        packed: what stands in the file, compressed, for the line of a key: the tree takes fifty times
            as much, and is made again if there is a problem.
        positions: where each of the settings' users stands in the file's list.
    """

    settings: Settings
    file: Path
    watches: tuple[Watch, ...]
    packed: bytes = field(repr=False)
    positions: Sequence[int]

    @property
    def folder(self) -> Path:
        """Where relative paths start from."""
        return Path(os.path.abspath(self.file)).parent  # noqa: PTH100 - links stay links

    def without_users(self) -> Self:
        """What is left for somebody who has nothing to do with users."""
        settings = replace(self.settings, users=())
        return replace(self, settings=settings, packed=b"", positions=())

    def problems(self, found: Iterable[tuple[KeyPath, str]]) -> list[Problem]:
        """Problems at keys of this configuration; it takes as long as reading it once more."""
        from smtp_router.config.places import problems  # noqa: PLC0415 - see above

        return problems(self.packed, self.file, found)


def load(file: Path, *, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check a configuration file.

    Raises:
        ConfigError: it cannot be read, or is not a configuration; with every problem found.
    """
    from smtp_router.config.tree import MAX_BYTES  # noqa: PLC0415 - see above

    watch = Watch(file)
    try:
        text = watch.read(max_bytes=MAX_BYTES)
    except OSError as error:
        message = f"cannot be read: {error.strerror}; -c FILE names another one"
        raise ConfigError([Problem(file=str(file), message=message)]) from None
    return parse(text, file, environ=environ, watches=(watch,))


def parse(
    text: bytes,
    file: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    watches: tuple[Watch, ...] = (),
) -> Loaded:
    """Check a configuration's text as if it stood in `file`.

    Raises:
        ConfigError: with every problem found.
    """
    from smtp_router.config.reading import read  # noqa: PLC0415 - see above

    return read(text, file, environ=environ, watches=watches)
