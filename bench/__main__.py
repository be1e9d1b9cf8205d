"""What a message costs this router, on this machine; and whether that is more than it was.

    python -m bench [--repetitions 3] [--seconds 1] [--cases …] [--beside …] [--new-baseline]

First what is counted, which is steady: bytecodes, calls and the processor's instructions per message,
beside the baseline for this version of Python. Then CPU time, beside the floors and the peers. All of
it is written to `bench/results/latest.json`. The exit code is 1 if a count is more than 15 % above the
baseline's, or any message failed.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import cost, counts, gate, record, report
from bench.record import Record

LATEST = record.FOLDER / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if anything is wrong."""
    parser = report.parser(__doc__)
    cost.add_options(parser, repetitions=3, seconds=1.0)
    parser.add_argument("--counted", default=",".join(counts.CASES), help="cases to count in")
    parser.add_argument("--json", type=Path, default=LATEST, help="where to write it; %(default)s")
    parser.add_argument("--baseline", type=Path, default=record.baseline_file(), help="%(default)s")
    parser.add_argument(
        "--new-baseline", action="store_true", help="write that, too, and compare nothing"
    )
    asked = parser.parse_args(arguments)
    counted = counts.count(asked.counted.split(","))
    baseline = None if asked.new_baseline or not asked.baseline.exists() else record.read(asked.baseline)
    slower = _compare(record.make(counts=counted), baseline, markdown=asked.markdown)
    print()
    table = cost.measure_as_asked(asked)
    cost.show(table, markdown=asked.markdown)
    found = record.make(cpu=table, counts=counted)
    for file in (asked.json, asked.baseline) if asked.new_baseline else (asked.json,):
        record.write(file, found)
        print(f"written: {file}", file=sys.stderr)
    return 1 if slower or cost.failures(table) else 0


def _compare(now: Record, baseline: Record | None, *, markdown: bool) -> bool:
    """Print what was counted; whether it is too much."""
    changes = list(gate.compare(now, baseline)) if baseline else []
    known = {(each.case, each.figure): each for each in changes}
    rows: list[report.Row] = []
    for case, counted in now.counts.items():
        for figure in ("bytecodes", "calls", "instructions"):
            value, change = getattr(counted, figure), known.get((case, figure))
            if value is not None:
                verdict = "TOO MUCH" if change and change.is_regression else ""
                ratio = round(change.ratio, 3) if change else ""
                rows.append((case, figure, round(value), ratio, verdict))
    report.show(("case", "per message", "count", "of baseline", ""), rows, markdown=markdown)
    if not changes:
        print(f"nothing to compare with: there is no baseline of {now.python}")
    return any(change.is_regression for change in changes)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: leave nobody behind
    sys.exit(main())
