"""Fuzzes with atheris: python -m tests.fuzz.fuzz FOLDER TARGET… [libFuzzer's options].

One target after the other. Each begins with `corpus/TARGET` and with what an earlier run has left in
FOLDER/TARGET, where it leaves inputs that reach new code. One that breaks something is left as
FOLDER/TARGET-crash-…, and the run ends with an error.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
AVAILABLE = find_spec("atheris") is not None
MISSING = "atheris is not installed: its wheels are for CPython 3.11 to 3.14 on Linux x86-64"


def main(folder: str, *words: str) -> None:
    """Fuzz each of the targets until something breaks or a limit in the options is reached.

    Args:
        folder: for what is found.
        words: the targets' names, and libFuzzer's options for each of them, as `-max_total_time=60`.
    """
    if not AVAILABLE:
        sys.exit(MISSING)
    import atheris  # noqa: PLC0415 - it is not everywhere

    with atheris.instrument_imports(include=["smtp_router"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - what is imported here is instrumented

    logging.disable(logging.WARNING)  # what clients do wrong is no news here; errors are looked for
    options = [word for word in words if word.startswith("-")]
    for name in (word for word in words if word not in options):
        sys.stderr.write(f"fuzzing {name} {' '.join(options)}\n")
        # A process each, since libFuzzer ends the one that it is in (and leaves what breaks something
        # while that ends as any does); but all code is instrumented before, which takes 6 s.
        child = os.fork()
        if child == 0:
            fuzz(name, TARGETS[name], folder, options)
        elif os.waitpid(child, 0)[1]:
            sys.exit(1)


def fuzz(name: str, target: Callable[[bytes], None], folder: str, options: Sequence[str]) -> NoReturn:
    """Fuzz this target; ends the process."""
    import atheris  # noqa: PLC0415 - it is not everywhere

    found = Path(folder, name)
    found.mkdir(parents=True, exist_ok=True)
    arguments = [f"-dict={HERE / 'smtp.dict'}", f"-artifact_prefix={found}-", *options]
    atheris.Setup([sys.argv[0], *arguments, str(found), str(CORPUS / name)], target)
    atheris.Fuzz()
    sys.exit()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback
    main(*sys.argv[1:])
