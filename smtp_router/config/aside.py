"""A configuration that another process reads, and hands over.

To read one takes pydantic and PyYAML, 10 MiB, and for a while several times what comes of it. The
process that does so ends, and gives all of that back: a router that runs never has it, also when it
reloads, and it can do other things meanwhile.

What is handed over is pickled, secrets included: through a pipe that nobody else has, from a process of
our own.
"""

import copyreg
import gc
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from smtp_router.config.load import InvalidConfigError, Loaded, load
from smtp_router.config.patterns import Pattern
from smtp_router.config.secret import Secret
from smtp_router.config.types import frozen
from smtp_router.core.errors import ConfigError, Problem

_Found = tuple[Loaded | None, Sequence[Problem], Loaded | None]
"""What is handed over: what was read; or the problems, and what can be used all the same."""


class Reading:
    """A configuration that is being read."""

    def __init__(self, file: Path) -> None:
        """Begin to read this file."""
        self._file = file
        self._problem = ""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter, with a module of ours
                (sys.executable, "-P", "-m", __name__, file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                process_group=0,  # what is typed at a terminal is for the router
            )
        except OSError as error:
            self._problem = f"no process could be started: {error.strerror}"

    def result(self) -> Loaded:
        """What it says; waits until it is read.

        Raises:
            ConfigError: it cannot be read, or is not a configuration; with every problem found.
        """
        found = None if self._problem else self._handed_over()
        if found is None:
            message = f"could not be read, {self._problem}"
            raise ConfigError([Problem(file=str(self._file), message=message)])
        loaded, problems, usable = found
        if loaded is not None:
            return loaded
        raise ConfigError(problems) if usable is None else InvalidConfigError(problems, usable)

    def _handed_over(self) -> _Found | None:
        found: _Found | None = None
        with self._process as process:
            assert process.stdout is not None
            try:
                found = pickle.load(process.stdout)  # noqa: S301 - our own process, see above
            except (EOFError, pickle.UnpicklingError):
                self._problem = "the process that does has ended (see above)"
        return found


def load_aside(file: Path) -> Loaded:
    """As `smtp_router.config.load.load`, by another process.

    Raises:
        ConfigError: the same.
    """
    return Reading(file).result()


class _Pickler(pickle.Pickler):
    """Knows what does not travel otherwise."""

    dispatch_table: Mapping[type, Callable[[Any], Any]] = {
        **copyreg.dispatch_table,
        Secret: lambda secret: (Secret, (secret.reveal(),)),
        Pattern: lambda pattern: (Pattern.compile, (pattern.source,)),
        MappingProxyType: lambda options: (frozen, (dict(options),)),
    }


def hand_over(file: Path, stream: IO[bytes]) -> None:
    """Read a configuration, and write what came of it to a stream."""
    found: _Found
    try:
        found = load(file), (), None
    except InvalidConfigError as error:
        found = None, error.problems, error.usable
    except ConfigError as error:
        found = None, error.problems, None
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(found)


if __name__ == "__main__":
    gc.disable()  # it ends before it would be worth while
    hand_over(Path(sys.argv[1]), sys.stdout.buffer)
