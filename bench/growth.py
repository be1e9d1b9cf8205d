"""How the cost grows: CPU per message over its size, clients, users, plugins and recipients; a picture.

    python -m bench.growth [--seconds 0.5] [--repetitions 3] [--points 6] [--picture docs/growth.png]

The whole router, as in `bench.cost`; where nothing else is said, 20 clients on kept connections send
1 KB to one recipient past one plugin. HAProxy and Postfix stand beside it where they know the quantity
and are installed. What was measured is also written to `bench/results/growth.json`, and `--draw FILE`
makes the picture from such a file. It takes less than four minutes.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bench import load, peers, record, report
from bench.contestants import ROOT, ROUTER, STAMP, Contestant, Router
from bench.cost import PEERS
from bench.load import Load

PICTURE = ROOT / "docs" / "growth.png"
USUAL = Load(size=1024, clients=20, mode="keep")
BIG = 1_000_000
PEERS_CLIENTS = 200
"""Postfix has a process for each client, and no more than 250 of them here."""
PLUGIN = Path(STAMP).read_text()
LOOKS = {ROUTER: ("tab:blue", "o"), "haproxy": ("tab:gray", "s"), "postfix": ("tab:red", "^")}

Line = list[tuple[int, float]]
"""A quantity, and CPU milliseconds per message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One quantity that grows.

    Args:
        label: of its axis, with the unit.
        points: its values.
        load: what clients do at a value, where it is theirs to know.
        users: how many there are at a value, where it is about them.
        plugins: how many each message passes, the same.
    """

    label: str
    points: Sequence[int]
    load: Callable[[int], Load] = lambda _: USUAL
    users: Callable[[int], int] = lambda _: 1
    plugins: Callable[[int], int] = lambda _: 1


SIZE, CLIENTS, USERS, PLUGINS, RECIPIENTS = "size", "clients", "users", "plugins", "recipients"
PANELS = {
    SIZE: Panel(
        label="size of the message (bytes)",
        points=(1_000, 10_000, 100_000, 1_000_000, 5_000_000, 20_000_000),
        load=lambda size: Load(size=size, clients=20 if size <= BIG else 4, mode="keep"),
    ),
    CLIENTS: Panel(
        label="clients at the same time",
        points=(1, 5, 20, 200, 2_000),
        load=lambda clients: replace(USUAL, clients=clients),
    ),
    USERS: Panel(
        label="users in the configuration", points=(10, 100, 1_000, 10_000), users=lambda users: users
    ),
    PLUGINS: Panel(
        label="plugins beside the algorithm", points=(0, 1, 2, 5, 10), plugins=lambda plugins: plugins
    ),
    RECIPIENTS: Panel(
        label="recipients per message",
        points=(1, 3, 10, 30, 100),
        load=lambda recipients: replace(USUAL, recipients=recipients),
    ),
}
KNOWN_TO_PEERS = (SIZE, CLIENTS, RECIPIENTS)


class Bench:
    """What is run: the programs, the sinks, and a folder for each router."""

    def __init__(self, folder: Path, stack: ExitStack, *, seconds: float, repetitions: int) -> None:
        """Compile and start what every panel needs."""
        folder.chmod(0o755)  # the peers' own users have to reach theirs
        self._folder = folder
        self._seconds = seconds
        self._repetitions = repetitions
        self._program, sink = load.build("load", folder), load.build("sink", folder)
        sinks = [stack.enter_context(peers.sink(sink)) for _ in range(2)]
        self._behind = sinks[0].port
        self._downstreams = [{"addr": f"127.0.0.1:{each.port}"} for each in sinks]

    def others(self, names: Sequence[str], stack: ExitStack) -> Iterator[Contestant]:
        """The peers; for each that cannot take part, stderr says why."""
        for name in filter(None, names):
            try:
                yield stack.enter_context(PEERS[name](self._own(name), self._behind))
            except peers.MissingError as error:
                print(f"without {name}: {error}", file=sys.stderr)

    def router(self, name: str, *, users: int, plugins: int) -> Router:
        """A router with so many users, each with downstreams of its own, and so many plugins."""
        folder = self._own(name)
        files = [folder / f"plugin_{number}.py" for number in range(plugins)]
        for file in files:
            file.write_text(PLUGIN)
        others = [
            {
                "email": f"user{number}@bench.example",
                "password": f"secret {number}",
                "algorithm": "round_robin",
                "downstreams": [{**each, "name": f"d{number}"} for each in self._downstreams[:1]],
            }
            for number in range(users - 1)
        ]
        return Router(
            folder, downstreams=self._downstreams, plugins=list(map(str, files)), more_users=others
        )

    def cpu_ms(self, contestant: Contestant, each: Load) -> float:
        """What a message costs.

        Raises:
            RuntimeError: one failed.
        """
        runs = [
            load.run(self._program, each, contestant, self._seconds) for _ in range(self._repetitions)
        ]
        errors = [run.told.first_error for run in runs if run.told.failed]
        if errors:
            raise RuntimeError(f"{contestant.name}: {errors[0]}")
        return round(median(run.cpu_ms for run in runs), 4)

    def _own(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def measure(
    quantities: Sequence[str], beside: Sequence[str], *, points: int, seconds: float, repetitions: int
) -> dict[str, dict[str, Line]]:
    """CPU per message by panel and contestant; of each panel, the first so many points."""
    found: dict[str, dict[str, Line]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as name, ExitStack() as stack:
        bench = Bench(Path(name), stack, seconds=seconds, repetitions=repetitions)
        usual = [stack.enter_context(bench.router("usual", users=1, plugins=1))]
        alike = [*usual, *bench.others(beside, stack)]
        for contestant in alike:  # caches, processes, buffers
            bench.cpu_ms(contestant, USUAL)
        for quantity in quantities:
            panel, lines = PANELS[quantity], found.setdefault(quantity, {})
            for point in panel.points[:points]:
                print(f"{quantity} {point}", file=sys.stderr)
                with ExitStack() as own:
                    if quantity in KNOWN_TO_PEERS:
                        within = quantity != CLIENTS or point <= PEERS_CLIENTS
                        contestants = alike if within else usual
                    else:
                        users, plugins = panel.users(point), panel.plugins(point)
                        router = bench.router(f"{quantity}-{point}", users=users, plugins=plugins)
                        contestants = [own.enter_context(router)]
                        bench.cpu_ms(contestants[0], USUAL)
                    for contestant in contestants:
                        cost = bench.cpu_ms(contestant, panel.load(point))
                        lines.setdefault(contestant.name, []).append((point, cost))
    return found


def draw(found: dict[str, dict[str, Line]], where: str, file: Path) -> None:
    """Make the picture.

    Args:
        found: as `measure` gives it.
        where: what is written below it.
        file: PNG or SVG, by its name.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    *places, rest = figure.subplots(2, 3).flat
    handles = {}
    for place, (quantity, panel) in zip(places, PANELS.items(), strict=True):
        for name, line in found.get(quantity, {}).items():
            colour, marker = LOOKS[name]
            xs, ys = zip(*line, strict=True)
            (handles[name],) = place.plot(xs, ys, color=colour, marker=marker, markersize=4, label=name)
        _scale(place, quantity, panel)
    rest.axis("off")
    rest.legend(handles.values(), handles.keys(), loc="upper left", frameon=False)
    rest.text(0, 0.55, where, va="top", fontsize=8, wrap=True, transform=rest.transAxes)
    figure.suptitle("CPU per message, all processes together")
    figure.savefig(file, dpi=110)


def _scale(place: Axes, quantity: str, panel: Panel) -> None:
    place.set_xlabel(panel.label)
    place.set_ylabel("CPU per message (ms)")
    place.grid(visible=True, which="major", alpha=0.3)
    if quantity == PLUGINS:
        place.set_ylim(bottom=0)
        return
    place.set_xscale("log")
    place.set_xticks([x for x in panel.points if str(x)[0] in "12"])
    place.xaxis.set_minor_locator(NullLocator())
    place.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    if quantity == SIZE:
        place.set_yscale("log")
        place.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    else:
        place.set_ylim(bottom=0)


def _short(number: float) -> str:
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= factor:
            return f"{number / factor:g} {unit}"
    return f"{number:g}"


def _where(made: record.Record) -> str:
    return "\n".join(
        (
            "Where nothing else is said: 20 clients on kept",
            "connections, 1 KB, 1 recipient, 1 user, 1 plugin with",
            "before_send and after_send, 2 downstreams.",
            "",
            f"{made.python}, {made.machine}",
            f"commit {made.commit}, {made.date[:10]}",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="per run")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--points", type=int, default=6, help="of each quantity, from the least")
    parser.add_argument("--quantities", default=",".join(PANELS))
    parser.add_argument("--beside", default=",".join(PEERS), help="'' for nobody")
    parser.add_argument("--json", type=Path, default=record.FOLDER / "growth.json")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--draw", type=Path, help="measure nothing, and draw what is in this file")
    asked = parser.parse_args(arguments)
    if asked.draw:
        kept = json.loads(asked.draw.read_text())
    else:
        found = measure(
            asked.quantities.split(","),
            asked.beside.split(","),
            points=asked.points,
            seconds=asked.seconds,
            repetitions=asked.repetitions,
        )
        kept = {"where": _where(record.make()), "cpu_ms": found}
        asked.json.parent.mkdir(exist_ok=True)
        asked.json.write_text(json.dumps(kept, indent=1) + "\n")
    draw(kept["cpu_ms"], kept["where"], asked.picture)
    rows: list[report.Row] = [
        (quantity, point, name, cost)
        for quantity, lines in kept["cpu_ms"].items()
        for name, line in lines.items()
        for point, cost in line
    ]
    report.show(("quantity", "", "who", "cpu ms/msg"), rows, markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: leave nobody behind
    sys.exit(main())
