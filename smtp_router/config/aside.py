"""A configuration that another process reads, and hands over.

To read one takes pydantic and PyYAML, 10 MiB, and for a while several times what comes of it. The
process that does so ends, and gives all of that back: a router that runs never has it, also when it
reloads, and it can do other things meanwhile.

What is handed over is pickled, secrets included: through a pipe that nobody else has, from a process of
our own (`smtp_router.config.handed`).
"""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from smtp_router.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from smtp_router.config.load import Loaded  # half of what a process needs that goes by one


class Reading:
    """A configuration that is being read."""

    def __init__(self, file: Path) -> None:
        """Begin to read this file."""
        self._file = file
        self._problem = ""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter, with a module of ours
                (sys.executable, "-P", "-m", "smtp_router.config.handed", file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                process_group=0,  # what is typed at a terminal is for the router
            )
        except OSError as error:
            self._problem = f"no process can be started: {error.strerror}"

    def result(self) -> "Loaded":
        """What it says; waits until it is read.

        Raises:
            ConfigError: it cannot be read, or is not a configuration; with every problem found.
        """
        found = None if self._problem else self._handed_over()
        if found is None:
            message = f"cannot be read, {self._problem}"
            raise ConfigError([Problem(file=str(self._file), message=message)])
        if isinstance(found, ConfigError):
            raise found
        return found

    def _handed_over(self) -> "Loaded | ConfigError | None":
        from smtp_router.config.shape import shape  # noqa: PLC0415 - not before there is time

        found: Loaded | ConfigError | None = None
        with self._process as process:
            assert process.stdout is not None
            try:
                if pickle.load(process.stdout) == shape():  # noqa: S301 - our own process, see above
                    found = pickle.load(process.stdout)  # noqa: S301
                else:
                    self._problem = "another version of the router is installed: restart it"
            except (EOFError, pickle.UnpicklingError):
                self._problem = "the process that does has ended (see above)"
        return found


def load_aside(file: Path) -> "Loaded":
    """As `smtp_router.config.load.load`, by another process.

    Raises:
        ConfigError: the same.
    """
    return Reading(file).result()
