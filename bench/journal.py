"""What logging and metrics take of a message: microseconds in a loop, the least of many rounds.

    python -m bench.journal [--rounds 40] [--log-format json]

`lines` are the two about a message that was delivered, with their write to /dev/null at the end of a
turn of eight messages. `metrics` are how two downstreams fare and what their limits leave, as is asked
for each message, and what is counted when one of them takes it. Both are hot: in their place, with all
else in between, they take more.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.contestants import ROOT
from smtp_router.cli.logs import Lines, journal_of, json_line, text_line
from smtp_router.cli.words import FORMATS, Format
from smtp_router.config.load import load
from smtp_router.core.content import Stuffed
from smtp_router.core.decision import DELIVERED
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message, received
from smtp_router.core.outcome import Attempt, attempted, delivered
from smtp_router.core.reply import plain_reply, with_id
from smtp_router.core.trace import Trace
from smtp_router.machine import MonotonicClock
from smtp_router.routing.target import Target
from smtp_router.routing.targets import Targets

MESSAGES = 2000
"""Each has another id, another reply, and took another time."""
A_TURN = 8
APART_S = 4e-6

Step = Callable[[int, float], None]
"""One message's part, the number of the message, and the instant."""


def measure(rounds: int, as_line: Format = text_line) -> tuple[float, float]:
    """Microseconds a message, of lines and of metrics."""
    with Path(os.devnull).open("w", encoding="ascii") as stream:
        return asyncio.run(_measure(rounds, Lines(stream, as_line), as_line))


async def _measure(rounds: int, log: Lines, as_line: Format) -> tuple[float, float]:
    settings = load(ROOT / "bench" / "yardstick.yaml").settings
    user = settings.users[0]
    shared = Targets()
    targets = [shared.make(user.email, each, settings) for each in user.downstreams]
    seen = targets[0].offered(0.0)
    assert seen is not None
    messages = [_message(number) for number in range(MESSAGES)]
    attempts = [_attempt(seen, number) for number in range(MESSAGES)]
    lines, metrics = _lines(log, as_line, messages, attempts), _metrics(targets, attempts)
    gc.collect()
    gc.disable()
    try:
        found = [[await _round(step) for step in (_nothing, lines, metrics)] for _ in range(rounds)]
    finally:
        gc.enable()
    loop, of_lines, of_metrics = map(min, zip(*found, strict=True))
    return of_lines - loop, of_metrics - loop


def _nothing(number: int, now: float) -> None:
    del number, now


async def _round(step: Step) -> float:
    began, now = time.perf_counter(), time.monotonic()
    for number in range(MESSAGES):
        step(number, now + number * APART_S)
    took = time.perf_counter() - began
    await asyncio.sleep(0)  # the ends of turns that were written at theirs already
    return took * 1e6 / MESSAGES


def _lines(
    lines: Lines, as_line: Format, messages: Sequence[Message], attempts: Sequence[Attempt]
) -> Step:
    journal = journal_of(lines.write, as_line, logging.INFO)
    outgoing = [message.with_header("X-Bench", "1") for message in messages]
    traces = [Trace(message) for message in messages]
    for trace, attempt in zip(traces, attempts, strict=True):
        trace.attempts.append(attempt)
        trace.reply = with_id(DELIVERED, trace.id)

    def step(number: int, now: float) -> None:
        message, attempt = messages[number], attempts[number]
        journal.attempt(message, outgoing[number], attempt, now)
        journal.message(message, traces[number], attempt.seconds, now)
        if number % A_TURN == 0:
            lines.flush()

    return step


def _metrics(targets: Sequence[Target], attempts: Sequence[Attempt]) -> Step:
    one, other = targets
    clock = MonotonicClock()

    def step(number: int, now: float) -> None:
        one.offered(now)
        other.offered(now)
        passage = (one if number % 2 else other).begin(now)
        assert passage is not None
        passage.commit()
        passage.ended(attempts[number], now, clock, float)
        passage.leave()

    return step


def _message(number: int) -> Message:
    content = b"Subject: A bench\r\n\r\n" + b"x" * 1000 + b"\r\n"
    return received(
        Stuffed((content,), len(content)),
        id=f"0123456789abcdef{number:04x}",
        user="user@bench.test",
        mail_from="sender@bench.test",
        rcpt_tos=("rcpt@bench.test",),
        received_at=datetime.now(UTC),
    )


def _attempt(downstream: Downstream, number: int) -> Attempt:
    reply = plain_reply(b"250 2.0.0 Ok: queued as %05X\r\n" % number)
    assert reply is not None
    return attempted(downstream, delivered(reply), 0.01 + number * 1e-5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    asked = parser.parse_args(arguments)
    lines, metrics = measure(asked.rounds, json_line if asked.log_format == "json" else text_line)
    rows = [("lines", lines), ("metrics", metrics), ("together", lines + metrics)]
    report.show(
        ("", "us a message"), [(name, round(us, 2)) for name, us in rows], markdown=asked.markdown
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
