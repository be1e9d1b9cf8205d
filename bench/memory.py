"""What a connection that does nothing costs in memory, and what a message does that is on its way.

    python -m bench.memory [--connections 2000,5000] [--messages 200] [--megabytes 5]

So many connections are opened, and brought on together: to the banner, past EHLO, past AUTH, past one
message each, and closed. Per connection: what the router's process has more in RAM than before the
first of them, and, in a second process that is told to count, what Python has allocated. What OpenSSL
keeps is in the RAM's figure only; the kernel's socket buffers are in neither.

Then so many messages are on their way at once, through the whole router: all have come, and none is read
by its downstream; then they are read, and not answered; then they are answered. Per message: what the
process has more in RAM than before, in sizes of a message.
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
from bench.contestants import STAMP, Edge, Router
from bench.load import content
from bench.withheld import Withheld, wait_for

MEGABYTE = 1_000_000
LINE = 998 * b"x" + b"\r\n"
READER = """from smtp_router import hookimpl

@hookimpl
def before_send(message):
    return message.with_header("X-Octets", str(len(message.content)))
"""
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


def messages(count: int, size: int, *, tls: bool, read: bool) -> Iterator[tuple[str, float]]:
    """What so many messages on their way have cost: at each point, per message and in sizes of one.

    Args:
        count: how many.
        size: of each, in octets.
        tls: whether they come over TLS.
        read: whether a plugin reads all of their content.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-memory-")))
        reader = folder / "reader.py"
        reader.write_text(READER)
        listener = {"addr": "127.0.0.1:0"}
        if tls:
            listener |= {"tls": "implicit", "tls_cert": str(write_certificate(folder))}
        withheld = stack.enter_context(Withheld())
        addr, pool = f"127.0.0.1:{withheld.port}", {"max_connections": count}
        router = stack.enter_context(
            Router(
                folder,
                downstreams=[{"addr": addr, "tls": "none", "pool": pool}],
                listen=[listener],
                plugins=(str(reader),) if read else (STAMP,),
            )
        )
        clients = [stack.enter_context(Client(router.port, implicit_tls=tls)) for _ in range(count)]
        for client in clients:
            client.greet()
            client.log_in()
            client.envelope()
            client.say("DATA", 354)
        before = router.resident_bytes()
        octets = b"Subject: A bench\r\n\r\n" + size // len(LINE) * LINE + b".\r\n"

        def cost() -> float:
            return (router.resident_bytes() - before) / count / size

        for client in clients:
            client.socket.sendall(octets)
        wait_for(count, withheld.begun)
        yield "its downstream does not read", cost()
        withheld.reads.set()
        wait_for(count, withheld.read)
        yield "its downstream does not answer", cost()
        withheld.answers.set()
        for client in clients:
            client.send(b"", 250)
        yield "it is answered", cost()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--connections", default="2000,5000")
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=5)
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
    size = int(asked.megabytes * MEGABYTE)
    on_their_way = [
        (
            asked.messages,
            "TLS" if tls else "clear",
            "reads it" if read else "adds a field",
            when,
            round(cost, 2),
        )
        for tls, read in ((False, False), (True, False), (False, True))
        for when, cost in messages(asked.messages, size, tls=tls, read=read)
    ]
    print()
    columns = ("messages", "", "a plugin", "while", "RAM, of its size")
    report.show(columns, on_their_way, markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
