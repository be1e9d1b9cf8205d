"""Fuzzes one target with atheris: python -m tests.fuzz.fuzz TARGET FOLDER [libFuzzer's options].

It begins with `corpus/TARGET` and with what an earlier run has left in FOLDER/TARGET, where it leaves
inputs that reach new code. One that breaks something is left as FOLDER/TARGET-crash-…, and the run ends
with an error.
"""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
AVAILABLE = find_spec("atheris") is not None
MISSING = "atheris is not installed: its wheels are for CPython 3.11 to 3.14 on Linux x86-64"


def main(name: str, folder: str, *options: str) -> None:
    """Fuzz until something breaks or a limit in the options is reached.

    Args:
        name: of the target.
        folder: for what is found.
        options: libFuzzer's, as in `-max_total_time=60`.
    """
    if not AVAILABLE:
        sys.exit(MISSING)
    import atheris  # noqa: PLC0415 - it is not everywhere

    with atheris.instrument_imports(include=["smtp_router"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - what is imported here is instrumented

    found = Path(folder, name)
    found.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # what clients do wrong is no news here; errors are looked for
    arguments = [f"-dict={HERE / 'smtp.dict'}", f"-artifact_prefix={found}-", *options]
    atheris.Setup([sys.argv[0], *arguments, str(found), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
