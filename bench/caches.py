"""How often a message misses the processor's caches, simulated by callgrind.

    python -m bench.caches [--cases 1k-c20-keep,1k-c20-new] [--kib 256,512,1024]

L1 is 32 KiB for code and as much for data; L2 is for both, and as large as `--kib` says: beside a busy
neighbour, half of what the processor has is left. The kernel, which uses them as well, is not in it.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers, report
from bench.cost import parse_case
from bench.counts import Events, UncountableError, watching

L1 = "32768,8,64"
"""Octets, ways, octets of a line; a second level as valgrind has it, the last one, stands for L2."""
HEADERS = ("case", "L2 KiB", "instructions", "L1 misses, code", "data", "L2 misses")


def count(cases: list[str], kib: int) -> list[report.Row]:
    """What a message of each case takes, with an L2 of that size.

    Raises:
        UncountableError: it cannot be counted here.
        RuntimeError: a message failed, or the load did.
    """
    caches = ("--cache-sim=yes", f"--I1={L1}", f"--D1={L1}", f"--LL={kib * 1024},8,64")
    with tempfile.TemporaryDirectory(prefix="bench-caches-") as name, ExitStack() as stack:
        folder = Path(name)
        program, sink = load.build("load", folder), load.build("sink", folder)
        sinks = [stack.enter_context(peers.sink(sink)) for _ in range(2)]
        downstreams = [{"addr": f"127.0.0.1:{each.port}"} for each in sinks]
        watched = stack.enter_context(watching(folder, program, downstreams, *caches))
        return [_row(case, kib, watched(parse_case(case))) for case in cases]


def _row(case: str, kib: int, events: Events) -> report.Row:
    data = events["D1mr"] + events["D1mw"]
    second = events["ILmr"] + events["DLmr"] + events["DLmw"]
    return case, kib, *map(round, (events["Ir"], events["I1mr"], data, second))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if it cannot be counted here."""
    parser = report.parser(__doc__)
    parser.add_argument("--cases", default="1k-c20-keep,1k-c20-new", help="%(default)s")
    parser.add_argument("--kib", default="256,512,1024", help="sizes of L2; %(default)s")
    asked = parser.parse_args(arguments)
    try:
        found = [count(asked.cases.split(","), int(kib)) for kib in asked.kib.split(",")]
    except UncountableError as error:
        print(error, file=sys.stderr)
        return 1
    report.show(HEADERS, [row for rows in found for row in rows], markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
