"""What it costs to hand a message on: the sending side alone, to a sink that throws everything away.

    python -m bench.sender [--messages 4000] [--repetitions 3]

The sender is called as the router calls it, by so many clients at a time, each with one message after
the other. `keep` is over kept connections, `new` over a connection per message. Shown is the CPU time of
this process, which does nothing else.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench import load, peers, report
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.core.content import Stuffed
from smtp_router.core.message import Message, received
from smtp_router.core.outcome import Delivered
from smtp_router.smtp.sender import SmtpSender

CASES = (
    (1024, 20, "keep"),
    (1024, 1, "keep"),
    (1024, 20, "new"),
    (10_240, 20, "keep"),
    (102_400, 20, "keep"),
    (5_000_000, 4, "keep"),
)
"""Octets, clients, mode."""
LARGE_OCTETS = 100_000
WARM = 200


def measure(port: int, size: int, clients: int, mode: str, messages: int) -> float:
    """CPU milliseconds per message.

    Raises:
        RuntimeError: a message was not delivered.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(port, size, clients, mode, messages))


async def _measure(port: int, size: int, clients: int, mode: str, messages: int) -> float:
    settings = _settings(port, mode)
    message = _message(size)
    sender = SmtpSender()
    await _send(sender, settings, message, clients, min(messages, WARM))
    before = time.process_time()
    await _send(sender, settings, message, clients, messages)
    used = time.process_time() - before
    await sender.close()
    return used * 1000 / messages


async def _send(
    sender: SmtpSender, settings: Settings, message: Message, clients: int, messages: int
) -> None:
    loop = asyncio.get_running_loop()
    left = iter(range(messages))
    downstream = settings.users[0].downstreams[0]

    async def client() -> None:
        for _ in left:
            until = loop.time() + settings.deadline_s
            outcome = await sender.send(message, downstream, settings, until=until, deadline=until)
            if not isinstance(outcome, Delivered):
                raise RuntimeError(str(outcome))  # noqa: TRY004 - its type says what became of it

    await asyncio.gather(*(client() for _ in range(clients)))


def _settings(port: int, mode: str) -> Settings:
    pool = {"max_messages_per_connection": 1 if mode == "new" else 100}
    downstream = {"addr": f"127.0.0.1:{port}", "pool": pool}
    user = {"email": "a@bench.example", "password": "p", "algorithm": "failover"}
    configuration = {"hostname": "bench.example", "users": [{**user, "downstreams": [downstream]}]}
    return parse(json.dumps(configuration).encode(), Path("config.yaml")).settings


def _message(size: int) -> Message:
    content = load.content(size).removesuffix(b".\r\n")
    return received(
        Stuffed((content,), len(content)),
        id="0123456789abcdef0123",
        user="a@bench.example",
        mail_from="a@client.example",
        rcpt_tos=("b@elsewhere.example",),
        received_at=datetime.now(UTC),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args(arguments)
    rows: list[report.Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-sender-") as name,
        peers.sink(load.build("sink", Path(name))) as sink,
    ):
        for size, clients, mode in CASES:
            messages = max(asked.messages // (1 + size // LARGE_OCTETS), 1)
            runs = [measure(sink.port, size, clients, mode, messages) for _ in range(asked.repetitions)]
            rows.append((size, clients, mode, round(statistics.median(runs), 4)))
    report.show(("octets", "clients", "", "CPU ms per message"), rows, markdown=asked.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
