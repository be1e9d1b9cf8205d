"""What a crowd of idle and slow clients takes away from the busy ones.

    python -m bench.crowd [--many 2000] [--some 200] [--repetitions 7] [--seconds 2]

The busy ones are `load.c`'s: 20 clients on kept connections, 1 KB. They send alone, beside many idle
and some slow connections, and beside many slow ones; half of the slow ones dawdle in commands, half in
content. Every run beside a crowd has one alone just before it, and the ratios are medians over these
pairs. Where cores are few, the crowd's own process takes messages per second away, and not the router;
CPU time per message says what the router spends on it. The exit code is 1 if a message failed or one of
the crowd was disconnected.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import load, report
from bench.contestants import ROOT, Edge
from bench.load import Load, Measured

BUSY = Load(size=1024, clients=20, mode="keep")


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
    """The runs beside one crowd: each with the one alone before it; and who of the crowd got lost."""

    pairs: list[tuple[Measured, Measured]] = field(default_factory=list)
    lost: int = 0

    def median_of(self, figure: Callable[[Measured], float]) -> float:
        """Of a figure beside the crowd."""
        return median(figure(beside) for _, beside in self.pairs)

    def ratio_of(self, figure: Callable[[Measured], float]) -> float:
        """Of a figure beside the crowd to that alone."""
        return round(
            median(figure(beside) / max(figure(alone), 1e-9) for alone, beside in self.pairs), 2
        )


def measure(crowds: dict[str, Crowd], *, repetitions: int, seconds: float) -> dict[str, Runs]:
    """Run the busy clients alone and beside each crowd, again and again."""
    runs = {name: Runs() for name in crowds}
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as name:
        folder = Path(name)
        program = load.build("load", folder)
        with Edge(folder) as edge:
            load.run(program, BUSY, edge, min(seconds, 1.0))  # caches
            for number in range(repetitions):
                for label, crowd in crowds.items():
                    print(f"{number + 1}/{repetitions} {label}", file=sys.stderr)
                    alone = load.run(program, BUSY, edge, seconds)
                    with _present(crowd, edge.port, runs[label]):
                        beside = load.run(program, BUSY, edge, seconds)
                    runs[label].pairs.append((alone, beside))
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


def show(results: dict[str, Runs], *, markdown: bool) -> None:
    """Print the table."""
    rows = [
        (
            name,
            round(runs.median_of(lambda run: run.cpu_ms), 4),
            runs.ratio_of(lambda run: run.cpu_ms),
            round(runs.median_of(lambda run: run.per_s)),
            runs.ratio_of(lambda run: run.per_s),
            round(runs.median_of(lambda run: run.told.p99_ms), 1),
            runs.lost,
        )
        for name, runs in results.items()
    ]
    columns = ("cpu ms/msg", "of alone", "msg/s", "of alone", "p99 ms", "disconnected")
    report.show(("beside", *columns), rows, markdown=markdown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if anything was lost."""
    parser = report.parser(__doc__)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--some", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="per run")
    asked = parser.parse_args(arguments)
    crowds = {
        "nobody": Crowd(),
        f"{asked.many} idle": Crowd(idle=asked.many),
        f"{asked.many} idle, {asked.some} slow": Crowd(idle=asked.many, slow=asked.some),
        f"{asked.many} slow": Crowd(slow=asked.many),
    }
    results = measure(crowds, repetitions=asked.repetitions, seconds=asked.seconds)
    show(results, markdown=asked.markdown)
    runs = [run for each in results.values() for pair in each.pairs for run in pair]
    errors = [run.told.first_error for run in runs if run.told.failed]
    if errors:
        print(f"{len(errors)} runs had failures; the first: {errors[0]}", file=sys.stderr)
    return int(bool(errors) or any(each.lost for each in results.values()))


if __name__ == "__main__":
    sys.exit(main())
