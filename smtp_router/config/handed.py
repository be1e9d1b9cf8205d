"""The process that reads a configuration for another one; see `smtp_router.config.aside`."""

import copyreg
import gc
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from smtp_router.config.load import InvalidConfigError, Loaded, load
from smtp_router.config.patterns import Pattern
from smtp_router.config.secret import Secret
from smtp_router.config.shape import shape
from smtp_router.config.types import frozen
from smtp_router.core.errors import ConfigError


class _Pickler(pickle.Pickler):
    """Knows what does not travel otherwise."""

    dispatch_table: Mapping[type, Callable[[Any], Any]] = {
        **copyreg.dispatch_table,
        ConfigError: lambda error: (ConfigError, (error.problems,)),
        InvalidConfigError: lambda error: (InvalidConfigError, (error.problems, error.usable)),
        MappingProxyType: lambda options: (frozen, (dict(options),)),
        Pattern: lambda pattern: (Pattern.compile, (pattern.source,)),
        Secret: lambda secret: (Secret, (secret.reveal(),)),
    }


def hand_over(file: Path, stream: IO[bytes]) -> None:
    """Read a configuration, and write what came of it to a stream."""
    found: Loaded | ConfigError
    try:
        found = load(file)
    except ConfigError as error:
        found = error
    pickle.dump(shape(), stream)
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(found)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # if nobody waits for it any more, it ends
    gc.disable()  # it does before that would be worth while
    hand_over(Path(sys.argv[1]), sys.stdout.buffer)
