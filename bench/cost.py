"""What a message costs: the whole router, less and less of it, the floors below it, and its peers.

    python -m bench.cost [--cases 1k-c20-keep,…] [--repetitions 5] [--seconds 2] [--json FILE]

`smtp-router` is all of it, with an algorithm from its package, a `before_send` and an `after_send`
plugin, limits, and two downstreams (`sink.c`); with a `null sender` nothing is handed on; the `edge
alone` answers before anything is routed. A case is SIZE-cCLIENTS-MODE, with -tls behind it where clients
use STARTTLS; `bench/load.c` says what the modes are. Repetitions are interleaved, so that a noisy minute
of the machine is everybody's; the figures are medians. The exit code is 1 if any message failed.
"""

import argparse
import dataclasses
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import load, peers, record, report
from bench.certificate import write_certificate
from bench.contestants import ROUTER, Contestant, Edge, Floor, Relay, Router
from bench.load import Load, Measured

CASES = (
    "1k-c20-keep",
    "1k-c20-pipe",
    "1k-c20-new",
    "1k-c200-new",
    "10k-c20-keep",
    "100k-c20-keep",
    "5m-c20-keep",
    "1k-c20-keep-tls",
    "1k-c20-new-tls",
)
SIZES = {"1k": 1024, "10k": 10_240, "100k": 102_400, "5m": 5 << 20}
PARTS = {"null sender": (), "edge alone": ("--edge-alone",)}
FLOORS = ("relay.py", "floor.py", "sink.c")
PEERS = {"haproxy": peers.haproxy, "postfix": peers.postfix}
BESIDE = (*PARTS, *FLOORS, *PEERS)

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
    results: Results = {}
    loads = {case: parse_case(case) for case in cases}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cost-")))
        folder.chmod(0o755)  # the peers' own users have to reach theirs
        program, sink = _load_program(loads, folder), load.build("sink", folder)
        sinks = [stack.enter_context(peers.sink(sink)) for _ in range(2)]
        downstreams = [{"addr": f"127.0.0.1:{each.port}"} for each in sinks]
        clear: list[Contestant] = [
            stack.enter_context(Router(_folder(folder, ROUTER), downstreams=downstreams))
        ]
        clear += _others(names, folder, sinks, stack)
        encrypted: list[Contestant] = []
        if any(each.tls for each in loads.values()):
            own = _folder(folder, "tls")
            listen = {"addr": "127.0.0.1:0", "tls": "starttls", "tls_cert": str(write_certificate(own))}
            router = Router(own, downstreams=downstreams, listen=[listen])
            encrypted.append(stack.enter_context(router))
        for contestant in clear:  # caches, processes, buffers
            load.run(program, parse_case("1k-c20-new"), contestant, min(seconds, 1.0))
        for number in range(repetitions):
            for case, each in loads.items():
                print(f"{number + 1}/{repetitions} {case}", file=sys.stderr)
                for contestant in encrypted if each.tls else clear:
                    done = load.run(program, each, contestant, seconds)
                    results.setdefault(case, {}).setdefault(contestant.name, []).append(done)
    return results


def _load_program(loads: dict[str, Load], folder: Path) -> Path:
    """The clients; the cases over TLS are left out where they cannot be compiled with it."""
    try:
        return load.build("load", folder, tls=any(each.tls for each in loads.values()))
    except load.NoTLSError as error:
        for case in [case for case, each in loads.items() if each.tls]:
            print(f"without {case}: {error}", file=sys.stderr)
            del loads[case]
        return load.build("load", folder)


def _others(
    names: Sequence[str], folder: Path, sinks: Sequence[peers.Peer], stack: ExitStack
) -> Iterator[Contestant]:
    """Those of the named who can take part; for each who cannot, stderr says why."""
    for name, options in PARTS.items():
        if name in names:
            yield stack.enter_context(Edge(_folder(folder, name), *options, name=name))
    if "relay.py" in names:
        yield stack.enter_context(Relay(_folder(folder, "relay"), [sink.port for sink in sinks]))
    if "floor.py" in names:
        yield stack.enter_context(Floor(_folder(folder, "floor")))
    if not peers.MEASURABLE:
        print("without others: their CPU time is read from /proc, and there is none", file=sys.stderr)
        return
    if "sink.c" in names:
        yield sinks[0]
    for name, start in PEERS.items():
        if name in names:
            try:
                yield stack.enter_context(start(_folder(folder, name), sinks[0].port))
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


Table = dict[str, dict[str, Summary]]
"""By case, then by contestant."""


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


def show(table: Table, *, markdown: bool) -> None:
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
    if not lines:
        return
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


def tabulate(results: Results) -> Table:
    """What all runs amount to."""
    return {
        case: {name: summarize(runs, rows[ROUTER]) for name, runs in rows.items()}
        for case, rows in results.items()
    }


def failures(table: Table) -> int:
    """How many messages failed."""
    return sum(row.failed for rows in table.values() for row in rows.values())


def add_options(parser: argparse.ArgumentParser, *, repetitions: int, seconds: float) -> None:
    """What to measure, and for how long."""
    parser.add_argument("--cases", default=",".join(CASES), help="'' for none")
    parser.add_argument("--beside", default=",".join(BESIDE), help="'' for nobody")
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--seconds", type=float, default=seconds, help="per run")


def measure_as_asked(asked: argparse.Namespace) -> Table:
    """Run what the command line says."""
    if not asked.cases:
        return {}
    results = measure(
        asked.cases.split(","),
        asked.beside.split(","),
        repetitions=asked.repetitions,
        seconds=asked.seconds,
    )
    return tabulate(results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if any message failed."""
    parser = report.parser(__doc__)
    add_options(parser, repetitions=5, seconds=2.0)
    parser.add_argument("--json", type=Path, help="write it there, too")
    asked = parser.parse_args(arguments)
    table = measure_as_asked(asked)
    show(table, markdown=asked.markdown)
    if asked.json:
        record.write(asked.json, record.make(cpu=table))
    return 1 if failures(table) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: leave nobody behind
    sys.exit(main())
