"""What a message costs at the edge, alone and with routing to a null sender, beside HAProxy and Postfix.

    python -m bench.edge [--cases 1k-c20-keep,…] [--repetitions 5] [--seconds 2] [--json [FILE]]

A case is SIZE-cCLIENTS-MODE, with -tls behind it over STARTTLS; `bench/load.c` says what the modes
are. Repetitions are interleaved, so that a noisy minute of the machine is everybody's; the figures are
medians. The exit code is 1 if any message failed.
"""

import dataclasses
import json
import platform
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import load, peers, report
from bench.certificate import write_certificate
from bench.contestants import ROOT, ROUTER, Contestant, Edge, Floor
from bench.load import Load, Measured

CASES = (
    "1k-c20-keep",
    "1k-c20-pipe",
    "1k-c20-new",
    "1k-c200-new",
    "10k-c20-keep",
    "100k-c20-keep",
    "5m-c4-keep",
    "1k-c20-keep-tls",
    "1k-c20-new-tls",
)
SIZES = {"1k": 1024, "10k": 10_240, "100k": 102_400, "5m": 5 << 20}
PEERS = {"haproxy": peers.haproxy, "postfix": peers.postfix}
FLOORS = ("floor.py", "sink.c")
RESULTS = ROOT / "bench" / "results" / "edge.json"

Results = dict[str, dict[str, list[Measured]]]
"""By case, then by contestant."""


def parse_case(case: str) -> Load:
    """What a case's name says.

    Raises:
        ValueError: nothing.
    """
    match = re.fullmatch(r"(\w+)-c(\d+)-(new|keep|pipe)(-tls)?", case)
    if match is None or match[1] not in SIZES:
        raise ValueError(f"{case!r} is no case: SIZE-cCLIENTS-MODE, SIZE one of {', '.join(SIZES)}")
    return Load(size=SIZES[match[1]], clients=int(match[2]), mode=match[3], tls=match[4] is not None)


def measure(cases: Sequence[str], names: Sequence[str], *, repetitions: int, seconds: float) -> Results:
    """Run every case with the router and everybody else who is named, again and again."""
    results: Results = {case: {} for case in cases}
    loads = {case: parse_case(case) for case in cases}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-edge-")))
        folder.chmod(0o755)  # the peers' own users have to reach theirs
        program = load.build("load", folder)
        clear: list[Contestant] = [stack.enter_context(Edge(_folder(folder, "edge")))]
        alone = Edge(_folder(folder, "alone"), "--edge-alone", name="edge alone")
        clear.append(stack.enter_context(alone))
        clear += _others(names, folder, stack)
        encrypted: list[Contestant] = []
        if any(each.tls for each in loads.values()):
            own = _folder(folder, "edge-tls")
            listen = {"addr": "127.0.0.1:0", "tls": "starttls", "tls_cert": str(write_certificate(own))}
            encrypted.append(stack.enter_context(Edge(own, listen=[listen])))
        for contestant in clear:  # caches, processes, buffers
            load.run(program, parse_case("1k-c20-new"), contestant, min(seconds, 1.0))
        for number in range(repetitions):
            for case, each in loads.items():
                print(f"{number + 1}/{repetitions} {case}", file=sys.stderr)
                for contestant in encrypted if each.tls else clear:
                    done = load.run(program, each, contestant, seconds)
                    results[case].setdefault(contestant.name, []).append(done)
    return results


def _others(names: Sequence[str], folder: Path, stack: ExitStack) -> Iterator[Contestant]:
    """Those of the named who can take part; for each who cannot, stderr says why."""
    if "floor.py" in names:
        yield stack.enter_context(Floor(_folder(folder, "floor")))
    if not peers.MEASURABLE:
        print("without others: their CPU time is read from /proc, and there is none", file=sys.stderr)
        return
    behind = stack.enter_context(peers.sink(load.build("sink", folder)))
    if "sink.c" in names:
        yield behind
    for name, start in PEERS.items():
        if name in names:
            try:
                yield stack.enter_context(start(_folder(folder, name), behind.port))
            except peers.MissingError as error:
                print(f"without {name}: {error}", file=sys.stderr)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All runs of one contestant in one case: medians, where nothing else is said.

    Args:
        cpu_ms: CPU milliseconds per message.
        cpu_ms_least: in the best of the runs.
        cpu_ms_most: in the worst.
        of_router: CPU time as a share of the router's.
        per_s: messages per second.
        p50_ms: half of the messages took no longer.
        p99_ms: 99 % took no longer.
        failed: what went wrong in all the runs together.
        error: in words, if anything did.
    """

    cpu_ms: float
    cpu_ms_least: float
    cpu_ms_most: float
    of_router: float
    per_s: int
    p50_ms: float
    p99_ms: float
    failed: int
    error: str


def summarize(runs: Sequence[Measured], router: Sequence[Measured]) -> Summary:
    """What a contestant's runs amount to, beside the router's."""
    cpu_ms = median(run.cpu_ms for run in runs)
    return Summary(
        cpu_ms=round(cpu_ms, 4),
        cpu_ms_least=round(min(run.cpu_ms for run in runs), 4),
        cpu_ms_most=round(max(run.cpu_ms for run in runs), 4),
        of_router=round(cpu_ms / max(median(run.cpu_ms for run in router), 1e-9), 2),
        per_s=round(median(run.per_s for run in runs)),
        p50_ms=round(median(run.told.p50_ms for run in runs), 2),
        p99_ms=round(median(run.told.p99_ms for run in runs), 2),
        failed=sum(run.told.failed for run in runs),
        error=next((run.told.first_error for run in runs if run.told.failed), ""),
    )


def show(table: dict[str, dict[str, Summary]], *, markdown: bool) -> None:
    """Print the table: in Markdown the CPU time only, with a column for each contestant."""
    if markdown:
        names = list(dict.fromkeys(name for rows in table.values() for name in rows))
        cells = [
            [f"`{case}`", *(rows[name].cpu_ms if name in rows else "" for name in names)]
            for case, rows in table.items()
        ]
        report.show(["case", *names], cells, markdown=True)
        return
    lines = [
        [case, name, *dataclasses.astuple(row)]
        for case, rows in table.items()
        for name, row in rows.items()
    ]
    columns = (
        "cpu ms/msg",
        "least",
        "most",
        "of router",
        "msg/s",
        "p50 ms",
        "p99 ms",
        "failed",
        "error",
    )
    report.show(("case", "who", *columns), lines, markdown=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if any message failed."""
    parser = report.parser(__doc__)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--beside", default=",".join((*FLOORS, *PEERS)), help="'' for nobody")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per run")
    parser.add_argument("--json", type=Path, nargs="?", const=RESULTS, help=f"write it, too; {RESULTS}")
    asked = parser.parse_args(arguments)
    results = measure(
        asked.cases.split(","),
        asked.beside.split(","),
        repetitions=asked.repetitions,
        seconds=asked.seconds,
    )
    table = {
        case: {name: summarize(runs, rows[ROUTER]) for name, runs in rows.items()}
        for case, rows in results.items()
    }
    show(table, markdown=asked.markdown)
    if asked.json:
        asked.json.parent.mkdir(exist_ok=True)
        asked.json.write_text(json.dumps(_entry(table), indent=1) + "\n")
    return 1 if any(row.failed for rows in table.values() for row in rows.values()) else 0


def _entry(table: dict[str, dict[str, Summary]]) -> dict[str, object]:
    cases = {
        case: {name: dataclasses.asdict(row) for name, row in rows.items()}
        for case, rows in table.items()
    }
    return {"machine": platform.platform(), "python": platform.python_version(), "cases": cases}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: leave nobody behind
    sys.exit(main())
