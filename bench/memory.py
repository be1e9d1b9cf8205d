"""What a connection that does nothing costs in memory.

    python -m bench.memory [--connections 2000,5000]

So many connections are opened, and brought on together: to the banner, past EHLO, past AUTH, past one
message each, and closed. Per connection: what the router's process has more in RAM than before the
first of them, and, in a second process that is told to count, what Python has allocated. What OpenSSL
keeps is in the RAM's figure only; the kernel's socket buffers are in neither.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.certificate import write_certificate
from bench.clients import Client, allow_files
from bench.contestants import Edge
from bench.load import content

WARM = 100
STEPS: dict[str, Callable[[Client], None]] = {
    "EHLO": Client.greet,
    "AUTH": Client.log_in,
    "a message": lambda client: client.message(content(1024)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the connections have cost at one point.

    Args:
        after: the last thing that they have heard.
        resident_bytes: RAM per connection.
        traced_bytes: what Python has allocated per connection.
    """

    after: str
    resident_bytes: float
    traced_bytes: float

    @property
    def kib(self) -> tuple[float, float]:
        """Both in KiB."""
        return round(self.resident_bytes / 1024, 1), round(self.traced_bytes / 1024, 1)


def measure(connections: int, *, tls: bool) -> list[Cost]:
    """What each of so many connections costs at each point."""
    resident = _bring_on(connections, Edge.resident_bytes, tls=tls)
    traced = _bring_on(connections, lambda edge: edge.figures().traced_bytes, "--trace", tls=tls)
    return [
        Cost(after=after, resident_bytes=in_ram, traced_bytes=allocated)
        for (after, in_ram), (_, allocated) in zip(resident, traced, strict=True)
    ]


def _bring_on(
    connections: int, weigh: Callable[[Edge], int], *options: str, tls: bool
) -> list[tuple[str, float]]:
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        folder = Path(name)
        listener = {"addr": "127.0.0.1:0"}
        if tls:
            listener |= {"tls": "implicit", "tls_cert": str(write_certificate(folder))}
        with Edge(folder, *options, listen=[listener]) as edge:
            for _ in _points(edge.port, WARM, tls=tls):  # caches, and the allocator's first arenas
                pass
            before = weigh(edge)
            return [
                (after, (weigh(edge) - before) / connections)
                for after in _points(edge.port, connections, tls=tls)
            ]


def _points(port: int, connections: int, *, tls: bool) -> Iterator[str]:
    """Bring connections on; at each point, what they have just heard."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port, implicit_tls=tls)) for _ in range(connections)]
        yield "the banner"
        for name, step in STEPS.items():
            for client in clients:
                step(client)
            yield name
        for client in clients:
            client.leave()
    yield "it is closed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--connections", default="2000,5000")
    asked = parser.parse_args(arguments)
    allow_files()
    rows = [
        (connections, "TLS" if tls else "clear", cost.after, *cost.kib)
        for connections in map(int, asked.connections.split(","))
        for tls in (False, True)
        for cost in measure(connections, tls=tls)
    ]
    columns = ("connections", "", "after", "KiB in RAM", "KiB allocated")
    report.show(columns, rows, markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
