"""What runs have come to, as plain data: what `--json` writes, and all other forms are made from.

Times are in seconds from the beginning of the run (`_s`), shares from 0 to 1.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from smtp_router.core.outcome import OutcomeKind
from smtp_router.simulation.figures import Figures, Tally
from smtp_router.simulation.histogram import Histogram
from smtp_router.simulation.outages import OutageWatch, share
from smtp_router.simulation.run import Run, World

Plain = dict[str, Any]
"""What JSON can hold."""

KINDS = tuple(map(str, OutcomeKind))


def report(world: World, runs: Sequence[Run]) -> Plain:
    """All runs."""
    return {
        "user": world.user,
        "seed": world.seed,
        "messages": world.traffic.count,
        "start": world.traffic.start.isoformat(),
        "runs": [_run(run, world) for run in runs],
    }


def _run(run: Run, world: World) -> Plain:
    figures = run.figures
    cost = {
        name: figures.tallies[name].recipients * world.scenario.behaviour(name).cost_per_1000 / 1000
        for name in run.downstreams
    }
    attempts = sum(times * count for times, count in figures.attempts_per_message.items())
    messages = figures.attempts_per_message.total()
    return {
        "algorithm": run.name,
        "seconds": _rounded(run.ended),
        "messages": _messages(figures),
        "latency_s": _latency(Histogram().take_in(cell.seconds for cell in figures.cells.all)),
        "attempts": attempts,
        "attempts_per_message": _rounded(attempts / messages if messages else 0.0),
        "attempts_of_messages": {str(k): v for k, v in sorted(figures.attempts_per_message.items())},
        "cost": _rounded(sum(cost.values())),
        "replies": dict(figures.replies.most_common()),
        "downstreams": {
            name: {**_downstream(figures.tallies[name], attempts), "cost": _rounded(cost[name])}
            for name in run.downstreams
        },
        "outages": [_outage(watch, run) for watch in run.watches],
        "over_time": _over_time(run),
        "events": dict(sorted((figures.events + run.complaints.counts).items())),
    }


def _messages(figures: Figures) -> Plain:
    counts: Counter[str] = Counter()
    for cell in figures.cells.all:
        counts.update(cell.messages)
    total = counts.total()
    known = {kind: counts.pop(kind, 0) for kind in KINDS}
    return {"total": total, **known, **dict(sorted(counts.items()))}


def _downstream(tally: Tally, attempts: int) -> Plain:
    total = tally.outcomes.total()
    return {
        "attempts": total,
        "share": _rounded(total / attempts if attempts else 0.0),
        **{kind: tally.outcomes[kind] for kind in KINDS},
        "latency_s": _latency(tally.seconds),
    }


def _latency(histogram: Histogram) -> Plain:
    quantiles = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        **{name: _rounded(histogram.quantile(part)) for name, part in quantiles.items()},
        "mean": _rounded(histogram.mean),
        "max": _rounded(histogram.most),
    }


def _outage(watch: OutageWatch, run: Run) -> Plain:
    outage, name = watch.outage, watch.downstream
    spans = {"before": watch.before, "during": watch.during, "after": watch.after}
    return {
        "downstream": name,
        "how": str(outage.how),
        "from_s": outage.begin,
        "to_s": outage.end,
        "is_reached": outage.begin < run.ended,
        "attempts_failed": watch.failed,
        "left_after_s": _after(watch.left_at, outage.begin),
        "back_after_s": _after(watch.back_at, outage.end),
        "shares": {
            span: {one: _rounded(share(chosen, one)) for one in run.downstreams}
            for span, chosen in spans.items()
        },
        "rests": [
            _rounded(at)
            for at, whose, begins in run.complaints.rests
            if whose == name and begins and outage.begin <= at < outage.end
        ],
    }


def _after(instant: float, begin: float) -> float | None:
    return None if math.isinf(instant) else _rounded(instant - begin)


def _over_time(run: Run) -> Plain:
    cells = run.figures.cells
    return {
        "width_s": cells.width_s,
        "p95_s": [_rounded(cell.seconds.quantile(0.95)) for cell in cells.all],
        "messages": {kind: [cell.messages[kind] for cell in cells.all] for kind in KINDS},
        "attempts": {
            name: {kind: [cell.attempts[name, kind] for cell in cells.all] for kind in KINDS}
            for name in run.downstreams
        },
    }


def _rounded(number: float) -> float:
    return round(number, 6)
