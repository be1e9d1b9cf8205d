"""The long run of the fault tests: `make soak`, or in part `python -m tests.soak --messages 999 faulty`.

Prints a table of figures for each part, and what ought not to be; the exit code is 1 if there is any.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from tests.soak.parts import Report, faulty, kills, primary


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "part", nargs="*", help="faulty, killed, vanished, kills; all of them by default"
    )
    parser.add_argument("--messages", type=int, default=200_000, help="through faulty downstreams")
    parser.add_argument("--clients", type=int, default=200, help="when the primary goes")
    parser.add_argument("--kills", type=int, default=100, help="of the router")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[Path], Report]] = {
        "killed": lambda folder: _run(primary(arguments.clients, folder, vanishes=False)),
        "vanished": lambda folder: _run(primary(arguments.clients, folder, vanishes=True)),
        "kills": lambda folder: kills(arguments.kills, folder),
        "faulty": lambda folder: _run(faulty(arguments.messages, folder)),
    }
    bad = 0
    for name in arguments.part or parts:
        with tempfile.TemporaryDirectory() as folder:
            report = parts[name](Path(folder))
        _print(name, report)
        bad += len(report.violations)
    return 1 if bad else 0


def _run(part: Coroutine[Any, Any, Report]) -> Report:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(part)


def _print(name: str, report: Report) -> None:
    print(f"\n{name}")
    for figure, value in report.figures.items():
        print(f"  {figure:40} {value}")
    for violation in report.violations[:20]:
        print(f"  NOT SO: {violation}")
    print(f"  {len(report.violations)} violations", flush=True)


if __name__ == "__main__":
    sys.exit(main())
