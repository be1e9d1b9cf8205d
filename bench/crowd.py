"""What a crowd of idle and slow clients takes away from the busy ones.

    python -m bench.crowd [--many 2000] [--some 200] [--repetitions 3] [--seconds 4]

The busy ones are `load.c`'s: 20 clients on kept connections, 1 KB. They send alone, beside many idle
and some slow connections, and beside many slow ones; half of the slow ones dawdle in commands, half in
content. On a machine of few cores the crowd itself takes CPU time away, so look at both ratios. The exit
code is 1 if a message failed or one of the crowd was disconnected.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import load
from bench.contestants import ROOT, Edge
from bench.load import Load, Measured

BUSY = Load(size=1024, clients=20, mode="keep")
ALONE = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who else is there.

    Args:
        idle: connections that are logged in and silent.
        slow: connections that send an octet a second.
    """

    idle: int = 0
    slow: int = 0


@dataclass(slots=True)
class Runs:
    """The runs beside one crowd, and how many of the crowd were disconnected in all of them."""

    measured: list[Measured] = field(default_factory=list)
    lost: int = 0


def measure(crowds: dict[str, Crowd], *, repetitions: int, seconds: float) -> dict[str, Runs]:
    """Run the busy clients beside each crowd, again and again."""
    runs = {name: Runs() for name in crowds}
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as name:
        folder = Path(name)
        program = load.build("load", folder)
        with Edge(folder) as edge:
            load.run(program, BUSY, edge, min(seconds, 1.0))  # caches
            for number in range(repetitions):
                for label, crowd in crowds.items():
                    print(f"{number + 1}/{repetitions} {label}", file=sys.stderr)
                    with _present(crowd, edge.port, runs[label]):
                        runs[label].measured.append(load.run(program, BUSY, edge, seconds))
    return runs


@contextmanager
def _present(crowd: Crowd, port: int, runs: Runs) -> Iterator[None]:
    """A crowd that is there."""
    counts = (crowd.idle, crowd.slow // 2, crowd.slow - crowd.slow // 2)
    command = [sys.executable, "-m", "bench.crowd_process", str(port), *map(str, counts)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the crowd did not come together")
            yield
            process.stdin.close()
            runs.lost += int(process.stdout.readline().removeprefix("lost "))
        finally:
            process.stdin.close()


def show(results: dict[str, Runs]) -> None:
    """Print the table."""
    alone = _medians(results[ALONE])
    print(f"{'beside':26} {'cpu ms/msg':>10} {'':>7} {'msg/s':>7} {'':>7} {'p99 ms':>8}  failed  lost")
    for name, runs in results.items():
        cpu_ms, per_s, p99_ms = _medians(runs)
        failed = sum(run.told.failed for run in runs.measured)
        print(
            f"{name:26} {cpu_ms:10.4f} {cpu_ms / alone[0]:6.2f}x {per_s:7.0f} {per_s / alone[1]:6.2f}x "
            f"{p99_ms:8.2f} {failed:7} {runs.lost:5}"
        )


def _medians(runs: Runs) -> tuple[float, float, float]:
    return (
        statistics.median(run.cpu_ms for run in runs.measured),
        statistics.median(run.per_s for run in runs.measured),
        statistics.median(run.told.p99_ms for run in runs.measured),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--some", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="per run")
    asked = parser.parse_args(arguments)
    crowds = {
        ALONE: Crowd(),
        f"{asked.many} idle": Crowd(idle=asked.many),
        f"{asked.many} idle, {asked.some} slow": Crowd(idle=asked.many, slow=asked.some),
        f"{asked.many} slow": Crowd(slow=asked.many),
    }
    results = measure(crowds, repetitions=asked.repetitions, seconds=asked.seconds)
    show(results)
    lost = any(runs.lost or any(run.told.failed for run in runs.measured) for runs in results.values())
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
