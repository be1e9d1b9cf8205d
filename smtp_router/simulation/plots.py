"""A report as pictures (matplotlib)."""

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smtp_router.simulation.report import KINDS, Plain

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974")
BAD = "#c44e52"
_WIDTH, _HEIGHT = 5.2, 6.6
_MINUTE = 60.0


def svg(report: Plain) -> str:
    """All plots, as one SVG element to stand in a page."""
    with _style():
        out = io.StringIO()
        _draw(report).savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(report: Plain, file: Path) -> None:
    """All plots, as a picture.

    Raises:
        OSError: it cannot be written.
    """
    with _style():
        _draw(report).savefig(file, format="png", dpi=130, metadata={"Software": None})


def _style() -> AbstractContextManager[None]:
    """How plots look, for the time of a block."""
    return mpl.rc_context(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.size": 9,
            "svg.fonttype": "none",  # text stays text: small, and it can be searched
            "svg.hashsalt": "smtp-router",  # the same report makes the same octets
        }
    )


def _draw(report: Plain) -> Figure:
    """A column for each algorithm: who got the mail, what became of it, how long it took."""
    runs = report["runs"]
    figure = Figure(figsize=(_WIDTH * len(runs), _HEIGHT), layout="constrained")
    columns = figure.subplots(3, len(runs), squeeze=False, sharex=True, sharey="row")
    for run, axes in zip(runs, columns.T, strict=True):
        axes[0].set_title(run["algorithm"])
        _shares(axes[0], run)
        _failures(axes[1], run)
        _latency(axes[2], run)
        for one in axes:
            _shade(one, run)
    return figure


def _shares(axes: Axes, run: Plain) -> None:
    """What part of the attempts each downstream got."""
    series = [_sums(attempts) for attempts in run["over_time"]["attempts"].values()]
    totals = [sum(cell) or 1 for cell in zip(*series, strict=True)]
    shares = [[count / total for count, total in zip(one, totals, strict=True)] for one in series]
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(series))]
    axes.stackplot(_minutes(run), shares, labels=list(run["downstreams"]), colors=colours, step="post")
    axes.set_ylabel("share of attempts")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left", fontsize=8)


def _failures(axes: Axes, run: Plain) -> None:
    """How many messages a second were not delivered, and how many attempts failed."""
    over_time = run["over_time"]
    width = over_time["width_s"]
    failed = [_sums(attempts, but="delivered") for attempts in over_time["attempts"].values()]
    axes.step(
        _minutes(run),
        [sum(cell) / width for cell in zip(*failed, strict=True)],
        where="post",
        color=COLOURS[1],
        label="attempts that failed",
    )
    axes.step(
        _minutes(run),
        [count / width for count in _sums(over_time["messages"], but="delivered")],
        where="post",
        color=BAD,
        label="messages not delivered",
    )
    axes.set_ylabel("per second")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=8)


def _latency(axes: Axes, run: Plain) -> None:
    """How long clients waited."""
    axes.step(_minutes(run), run["over_time"]["p95_s"], where="post", color=COLOURS[0], label="p95")
    axes.set_ylabel("seconds waited")
    axes.set_xlabel("minutes")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=8)


def _shade(axes: Axes, run: Plain) -> None:
    """Outages, behind the rest."""
    for outage in filter(itemgetter("is_reached"), run["outages"]):
        begin, end = outage["from_s"] / _MINUTE, min(outage["to_s"], run["seconds"]) / _MINUTE
        axes.axvspan(begin, end, color=BAD, alpha=0.12, linewidth=0, zorder=0)


def _minutes(run: Plain) -> list[float]:
    over_time = run["over_time"]
    return [number * over_time["width_s"] / _MINUTE for number in range(len(over_time["p95_s"]))]


def _sums(series: Plain, but: str = "") -> list[int]:
    """All kinds together, cell by cell."""
    return [sum(cell) for cell in _cells([series[kind] for kind in KINDS if kind != but])]


def _cells(series: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    return zip(*series, strict=True)
