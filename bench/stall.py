"""How long big messages, and clients in great numbers, hold the event loop and with it everybody else.

    python -m bench.stall [--megabytes 30] [--connections 5000] [--repetitions 3]

One client sends a message as fast as it can; then clients log in, one after the other, and stay. A
ticker in the router's own event loop notes the longest time between two turns: by the wall's clock, in
which a busy machine's other processes count, too, and in CPU time, in which they do not. Shown is the
longest of all repetitions, and the router's CPU time.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.asked import Figures
from bench.clients import Client, allow_files
from bench.contestants import Edge

MEGABYTE = 1_000_000
CHUNK = 1 << 20
LINE = b"It is plain text, in lines of no more than the usual seventy-six characters.\r\n"
CONTENTS: dict[str, Callable[[int], bytes]] = {
    "short lines": lambda size: LINE * (size // len(LINE)),
    "one line": lambda size: b"x" * (size - 2) + b"\r\n",
    "a dot a line": lambda size: b".\r\n" * (size // 3),
    "empty lines": lambda size: b"\r\n" * (size // 2),
}
HEAD = b"Subject: A bench\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one message did, or one crowd.

    Args:
        wall_ms: the longest time between two turns of the loop.
        cpu_ms: the same in CPU time.
        total_cpu_ms: CPU time for all of it.
    """

    wall_ms: float
    cpu_ms: float
    total_cpu_ms: float


def by_data(client: Client, content: bytes) -> None:
    """Send content with DATA."""
    client.say("DATA", 354)
    client.send((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")


def by_one_chunk(client: Client, content: bytes) -> None:
    """Send content with one BDAT."""
    client.send(b"BDAT %d LAST\r\n" % len(content) + content)


def by_chunks(client: Client, content: bytes) -> None:
    """Send content with a BDAT for each megabyte."""
    for at in range(0, len(content), CHUNK):
        chunk = content[at : at + CHUNK]
        client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
    client.say("BDAT 0 LAST")


WAYS = {"DATA": by_data, "BDAT": by_one_chunk, "BDAT, 1 MiB each": by_chunks}


def measure(size: int, connections: int, repetitions: int) -> Iterator[tuple[str, str, Held]]:
    """Every way with every content, and the crowd: the worst of all repetitions."""
    with tempfile.TemporaryDirectory(prefix="bench-stall-") as name, Edge(Path(name), "--watch") as edge:
        for way, send in WAYS.items():
            for kind, make in CONTENTS.items():
                content = HEAD + make(size - len(HEAD))
                yield way, kind, _worst([_message(edge, send, content) for _ in range(repetitions)])
        worst = _worst([_connections(edge, connections) for _ in range(repetitions)])
        yield "connecting", f"{connections} clients", worst


def _message(edge: Edge, send: Callable[[Client, bytes], None], content: bytes) -> Held:
    with Client(edge.port) as client:
        client.greet()
        client.log_in()
        client.envelope()
        before = edge.figures()
        send(client, content)
        return _between(before, edge.figures())


def _connections(edge: Edge, connections: int) -> Held:
    before = edge.figures()
    with ExitStack() as stack:
        for _ in range(connections):
            client = stack.enter_context(Client(edge.port))
            client.greet()
            client.log_in()
        return _between(before, edge.figures())


def _between(before: Figures, after: Figures) -> Held:
    return Held(
        wall_ms=after.held_s * 1000,
        cpu_ms=after.held_cpu_s * 1000,
        total_cpu_ms=(after.cpu_s - before.cpu_s) * 1000,
    )


def _worst(runs: Sequence[Held]) -> Held:
    return Held(
        wall_ms=max(run.wall_ms for run in runs),
        cpu_ms=max(run.cpu_ms for run in runs),
        total_cpu_ms=max(run.total_cpu_ms for run in runs),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args(arguments)
    allow_files()
    size = int(asked.megabytes * MEGABYTE)
    rows = [
        (way, kind, round(held.wall_ms, 1), round(held.cpu_ms, 1), round(held.total_cpu_ms))
        for way, kind, held in measure(size, asked.connections, asked.repetitions)
    ]
    columns = ("by", "content", "held ms", "in CPU ms", "CPU ms in all")
    report.show(columns, rows, markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
