"""A report as tables for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from smtp_router.simulation.report import KINDS, Plain

Row = Sequence[str]


def text(report: Plain) -> str:
    """The whole report; algorithms that are compared stand side by side."""
    runs = report["runs"]
    head = f"{report['messages']:,} messages of {report['user']}, seed {report['seed']}"
    parts = [head, _table(_overall(runs)), _table(_downstreams(runs))]
    outages = list(_outages(runs))
    parts += [_table(outages)] if len(outages) > 1 else []
    parts += ["\n".join(notes)] if (notes := list(_notes(runs))) else []
    return "\n\n".join(parts)


def _overall(runs: Sequence[Plain]) -> Iterator[Row]:
    yield "", *(run["algorithm"] for run in runs)
    for kind in runs[0]["messages"]:
        if kind in KINDS or any(run["messages"].get(kind) for run in runs):
            yield kind.replace("_", " "), *(f"{run['messages'].get(kind, 0):,}" for run in runs)
    yield "attempts per message", *(f"{run['attempts_per_message']:.3f}" for run in runs)
    for name in ("p50", "p95", "p99"):
        yield f"latency {name}", *(span(run["latency_s"][name]) for run in runs)
    yield "cost", *(f"{run['cost']:,.2f}" for run in runs)
    yield "took", *(span(run["seconds"]) for run in runs)


def _downstreams(runs: Sequence[Plain]) -> Iterator[Row]:
    which = ["algorithm"] if len(runs) > 1 else []
    kinds = [kind.replace("_", " ") for kind in KINDS]
    yield *which, "downstream", "share", "attempts", *kinds, "p50", "p95", "p99", "cost"
    for run in runs:
        for name, one in run["downstreams"].items():
            yield (
                *([run["algorithm"]] if which else []),
                name,
                f"{one['share']:.1%}",
                f"{one['attempts']:,}",
                *(f"{one[kind]:,}" for kind in KINDS),
                *(span(one["latency_s"][quantile]) for quantile in ("p50", "p95", "p99")),
                f"{one['cost']:,.2f}",
            )


def _outages(runs: Sequence[Plain]) -> Iterator[Row]:
    which = ["algorithm"] if len(runs) > 1 else []
    yield *which, "outage", "from", "to", "how", "failed", "left", "back", "before", "during", "after"
    for run in runs:
        for one in filter(itemgetter("is_reached"), run["outages"]):
            name = one["downstream"]
            yield (
                *([run["algorithm"]] if which else []),
                name,
                span(one["from_s"]),
                span(one["to_s"]),
                one["how"],
                f"{one['attempts_failed']:,}",
                _after(one["left_after_s"]),
                _after(one["back_after_s"]),
                *(f"{one['shares'][when][name]:.1%}" for when in ("before", "during", "after")),
            )


def _notes(runs: Sequence[Plain]) -> Iterator[str]:
    """What else there is to say."""
    for run in runs:
        for one in run["outages"]:
            if not one["is_reached"]:
                name, began = one["downstream"], span(one["from_s"])
                yield f"{run['algorithm']}: the last mail came before {name} was out, at {began}"
        for event, count in run["events"].items():
            yield f"{run['algorithm']}: {count:,} times {event}"


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"after {span(seconds)}"


def span(seconds: float) -> str:
    """`80 ms`, `1.25 s`, `10 min`, `2.5 h`."""
    for least, unit, scale in ((3600, "h", 3600.0), (60, "min", 60.0), (1, "s", 1.0)):
        if seconds >= least:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def _table(rows: Iterable[Row]) -> str:
    """Columns as wide as they have to be; the first is flush left."""
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if position == 0 else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
