"""What a message costs over STARTTLS on both sides, with a new connection on each; beside Postfix.

    python -m bench.tls [--clients 20] [--repetitions 3] [--seconds 2]

Every client connects anew for each message and resumes its last TLS session, and so does the router
(`pool.max_messages_per_connection: 1`), which verifies its downstream. Of Postfix there are two, since
none does the same: as a proxy it hands on in clear text, with a queue it answers before it hands on. The
router therefore also stands there with a downstream in clear text, and Postfix's queue is awaited.
`in` and `out` are the shares of resumed sessions, and with which version and cipher. All certificates
are of one kind (P-256), and everybody uses OpenSSL as it comes; load and sink are programs in C and take
its headers. The exit code is 1 if any message failed.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import load, peers, report
from bench.certificate import write_certificate
from bench.contestants import ROUTER, Contestant, Router
from bench.load import Load, Measured
from bench.peers import Sink

PROXY, QUEUE = "postfix, proxy", "postfix, queue"
IN_CLEAR = f"{ROUTER}, clear downstream"
DRAIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Somebody who is measured, and what is behind it if that speaks TLS."""

    front: Contestant
    sink: Sink | None


@dataclass(slots=True)
class Runs:
    """What was measured of one.

    Args:
        cpu_ms: CPU per message of each run.
        ok: messages in all.
        failed: the same.
        resumed_in: of those, over a resumed session.
        handshakes_out: with the downstream.
        resumed_out: of those, resumed.
        per_s: messages per second of each run.
        ciphers: version and cipher with clients, and with the downstream.
    """

    cpu_ms: list[float] = field(default_factory=list)
    ok: int = 0
    failed: int = 0
    resumed_in: int = 0
    handshakes_out: int = 0
    resumed_out: int = 0
    per_s: list[float] = field(default_factory=list)
    ciphers: tuple[str, str] = ("", "")

    def row(self, name: str, router_ms: float) -> report.Row:
        """For the table."""
        of_router = round(median(self.cpu_ms) / router_ms, 2)
        cpu_ms = [
            round(figure, 3) for figure in (median(self.cpu_ms), min(self.cpu_ms), max(self.cpu_ms))
        ]
        into = round(self.resumed_in / max(self.ok, 1), 3)
        out = round(self.resumed_out / self.handshakes_out, 3) if self.handshakes_out else "clear"
        return (
            name,
            *cpu_ms,
            of_router,
            round(median(self.per_s)),
            into,
            out,
            self.failed,
            *self.ciphers,
        )


def measure(*, clients: int, beside: bool, repetitions: int, seconds: float) -> dict[str, Runs]:
    """Run everybody, again and again."""
    each = Load(size=1024, clients=clients, mode="new", tls=True)
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's own user has to reach its files
        program = load.build("load", folder, tls=True)
        pairs = {pair.front.name: pair for pair in _contestants(folder, stack, beside=beside)}
        runs = {name: Runs() for name in pairs}
        for pair in pairs.values():  # sessions to resume
            _run(program, pair, each, min(seconds, 1.0), Runs())
        for _ in range(repetitions):
            for who, pair in pairs.items():
                _run(program, pair, each, seconds, runs[who])
    return runs


def _contestants(folder: Path, stack: ExitStack, *, beside: bool) -> Iterator[Pair]:
    certificate = write_certificate(folder)
    listen = [{"addr": "127.0.0.1:0", "tls": "starttls", "tls_cert": str(certificate)}]
    pool = {"max_messages_per_connection": 1}
    program = load.build("sink", folder, tls=True)
    plain = stack.enter_context(peers.sink(program))

    def own(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    behind = stack.enter_context(peers.sink(program, certificate))
    tls = {"tls": "starttls", "tls_ca": str(folder / "ca.pem")}
    downstream = {"addr": f"127.0.0.1:{behind.port}", **tls, "pool": pool}
    router = Router(own("router"), downstreams=[downstream], listen=listen)
    yield Pair(front=stack.enter_context(router), sink=behind)
    downstream = {"addr": f"127.0.0.1:{plain.port}", "pool": pool}
    router = Router(own("clear"), downstreams=[downstream], listen=listen)
    router.name = IN_CLEAR
    yield Pair(front=stack.enter_context(router), sink=None)
    if not beside:
        return
    behind = stack.enter_context(peers.sink(program, certificate))
    for name, port, queued in ((PROXY, plain.port, False), (QUEUE, behind.port, True)):
        try:
            peer = stack.enter_context(
                peers.postfix(
                    own(name.partition(", ")[2]), port, certificate=certificate, queued=queued, name=name
                )
            )
        except peers.MissingError as error:
            print(f"without {name}: {error}", file=sys.stderr)
        else:
            yield Pair(front=peer, sink=behind if queued else None)


def _run(program: Path, pair: Pair, each: Load, seconds: float, runs: Runs) -> None:
    before = pair.sink.counts() if pair.sink else None
    used = pair.front.cpu_s()
    done: Measured = load.run(program, each, pair.front, seconds)
    runs.ciphers = done.told.cipher, ""
    if pair.sink and before:
        after = _await(pair.sink, before.messages + done.told.ok)
        runs.handshakes_out += after.handshakes - before.handshakes
        runs.resumed_out += after.resumed - before.resumed
        runs.ciphers = done.told.cipher, after.cipher
    used = pair.front.cpu_s() - used
    runs.cpu_ms.append(used * 1000 / max(done.told.ok, 1))
    runs.per_s.append(done.per_s)
    runs.ok += done.told.ok
    runs.failed += done.told.failed
    runs.resumed_in += done.told.resumed


def _await(sink: Sink, messages: int) -> peers.Counts:
    """What the sink has seen when it has so many messages.

    Raises:
        RuntimeError: they do not come.
    """
    until = time.monotonic() + DRAIN_S
    while (counts := sink.counts()).messages < messages:
        if time.monotonic() > until:
            raise RuntimeError(f"not all messages came within {DRAIN_S:.0f} s")
        time.sleep(0.05)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if any message failed."""
    parser = report.parser(__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per run")
    parser.add_argument("--alone", action="store_true", help="without Postfix")
    asked = parser.parse_args(arguments)
    try:
        runs = measure(
            clients=asked.clients,
            beside=not asked.alone,
            repetitions=asked.repetitions,
            seconds=asked.seconds,
        )
    except load.NoTLSError as error:
        print(error, file=sys.stderr)
        return 2
    router_ms = median(runs[ROUTER].cpu_ms)
    columns = (
        "who",
        "cpu ms/msg",
        "least",
        "most",
        "of router",
        "msg/s",
        "in",
        "out",
        "failed",
        "cipher in",
        "out",
    )
    report.show(
        columns, [each.row(name, router_ms) for name, each in runs.items()], markdown=asked.markdown
    )
    return 1 if any(each.failed for each in runs.values()) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: leave nobody behind
    sys.exit(main())
