"""How much more several workers take than one.

    python -m bench.workers [--workers 2] [--clients 20] [--repetitions 5] [--seconds 3]

The whole router as it is run, `smtp-router serve`, with `sink.c` behind it and `load.c` in front of it:
kept connections, 1 KB. Load and sink want a core, too, and would be the limit where there are few. So
each message is made to cost the worker a known time, in a plugin (`before_send`):

    held     it holds the event loop for 4 ms and uses no CPU time, as if the worker had a slow core of
             its own: whether workers add up does not depend on how many cores there are here
    burnt    it uses 4 ms of CPU time, which saturates as many cores as there are workers; load and sink
             take what they need from the same cores, so with as many workers as cores it is less than
             that many times as much
    plain    nothing: what it costs in CPU time per message that there are others to agree with
    limited  nothing, but the downstream has limits, which workers count together

With one worker and with several, alternately; medians. The exit code is 1 if a message failed.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from bench import load, report
from bench.contestants import MANY, PASSWORD, USER
from bench.load import Load, Measured
from bench.peers import Peer, sink
from bench.serving import serving

COST_S = 0.004

PLUGIN = """
import time
from smtp_router import hookimpl

@hookimpl
def before_send(message):
    {cost}
"""
COSTS = {
    "held": f"time.sleep({COST_S})",
    "burnt": f"""end = time.thread_time() + {COST_S}
    while time.thread_time() < end:
        pass""",
}
LIMITS = {"concurrency": 1000, "per_second": MANY}
CASES = (*COSTS, "plain", "limited")


def router(folder: Path, case: str, workers: int, behind: int) -> AbstractContextManager[Peer]:
    """A router with so many workers, in front of a port.

    Raises:
        RuntimeError: it does not start.
    """
    name = f"{case}-{workers}"
    downstream = {"addr": f"127.0.0.1:{behind}", "pool": {"max_messages_per_connection": MANY}}
    if case == "limited":
        downstream["limits"] = LIMITS
    user = {"email": USER, "password": PASSWORD, "algorithm": "failover", "downstreams": [downstream]}
    if case in COSTS:
        (folder / f"{case}.py").write_text(PLUGIN.format(cost=COSTS[case]))
        user["plugins"] = [f"./{case}.py"]
    settings = {"workers": workers, "max_transactions": MANY, "users": [user]}
    return serving(folder, name, settings)


def measure(
    cases: Sequence[str], *, workers: int, clients: int, repetitions: int, seconds: float
) -> dict[str, list[tuple[Measured, Measured]]]:
    """Each case with one worker and with several, again and again."""
    busy = Load(size=1024, clients=clients, mode="keep")
    runs: dict[str, list[tuple[Measured, Measured]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as name:
        folder = Path(name)
        program = load.build("load", folder)
        with sink(load.build("sink", folder)) as behind:
            for case in cases:
                with (
                    router(folder, case, 1, behind.port) as one,
                    router(folder, case, workers, behind.port) as several,
                ):
                    for each in (one, several):
                        load.run(program, busy, each, min(seconds, 0.5))  # caches, connections
                    for number in range(repetitions):
                        print(f"{number + 1}/{repetitions} {case}", file=sys.stderr)
                        pair = [load.run(program, busy, each, seconds) for each in (one, several)]
                        runs[case].append((pair[0], pair[1]))
    return runs


def show(runs: dict[str, list[tuple[Measured, Measured]]], workers: int, *, markdown: bool) -> None:
    """Print the table."""
    rows = [
        (
            case,
            round(median(one.per_s for one, _ in pairs)),
            round(median(several.per_s for _, several in pairs)),
            round(median(several.per_s / one.per_s for one, several in pairs), 2),
            round(median(one.cpu_ms for one, _ in pairs), 3),
            round(median(several.cpu_ms for _, several in pairs), 3),
            round(median(several.cpu_ms / max(one.cpu_ms, 1e-9) for one, several in pairs), 2),
        )
        for case, pairs in runs.items()
    ]
    columns = ("msg/s, 1", f"{workers}", "ratio", "cpu ms/msg, 1", f"{workers}", "ratio")
    report.show(("case", *columns), rows, markdown=markdown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a message failed."""
    parser = report.parser(__doc__)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="per run")
    asked = parser.parse_args(arguments)
    runs = measure(
        asked.cases.split(","),
        workers=asked.workers,
        clients=asked.clients,
        repetitions=asked.repetitions,
        seconds=asked.seconds,
    )
    show(runs, asked.workers, markdown=asked.markdown)
    errors = [
        run.told.first_error
        for pairs in runs.values()
        for pair in pairs
        for run in pair
        if run.told.failed
    ]
    if errors:
        print(f"{len(errors)} runs had failures; the first: {errors[0]}", file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
