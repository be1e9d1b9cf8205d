"""What is soaked: faulty downstreams, a primary that is killed or vanishes, a router that is killed."""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from smtp_router.testing import (
    OK,
    Answer,
    Close,
    Hang,
    Plan,
    Reset,
    Say,
    Script,
    ScriptedDownstream,
    Step,
)
from tests.crowd import Crowd
from tests.ledgers import Ledgers
from tests.running import Config, config, user
from tests.soak.process import RouterProcess
from tests.underload import entry, rounds, signals

FAULT_RATE: Final = 0.02
"""Of all steps; a message takes six or so."""
TIMEOUTS: Final = dict.fromkeys(("banner_s", "ehlo_s", "mail_s", "rcpt_s", "data_s", "final_s"), 2.0)
HEALTH: Final = {"rest_s": 0.5, "max_rest_s": 2.0}
FAULTS: Final[tuple[Step, ...]] = (
    *(Answer(451, "4.2.0 later"), Answer(554, "5.6.0 never"), Answer(421, "4.3.2 closing")),
    *(Close(), Reset(), Say(b"what?\r\n"), Close(after=OK), Close(after=Say(b"250 2.0.0 ha"))),
)
SESSION: Final = ("accept", "banner", "ehlo")
TRANSACTION: Final = ("mail", "rcpt", "data", "final")
BODY: Final = b"hello\r\n.\r\nbye\r\n"
PAUSE_S: Final = 4.0
"""From one message of a client to its next: how fast a piled-up crowd goes on is not measured here."""
CONNECT_S: Final = 1.0
P99_S: Final = CONNECT_S + 0.1
AFTER_S: Final = 3.0
"""How long after a primary is gone answers are looked at, and how long it stays so."""
SAMPLE_S: Final = 0.2
FLAT: Final = 1.05
FLAT_BYTES: Final = 4_000_000


@dataclass
class Report:
    """What a part came to: figures by name, and what ought not to be."""

    figures: dict[str, object] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def holds(self, fact: object, otherwise: str) -> None:
        """Note it if this is not so."""
        if not fact:
            self.violations.append(otherwise)


async def faulty(messages: int, folder: Path) -> Report:
    """Many messages through downstreams that fail at every stage now and then."""
    chance = random.Random(1)  # noqa: S311 - which step fails
    async with AsyncExitStack() as stack:
        scripts: tuple[Script, ...] = ({}, *(_script(chance) for _ in range(3)))
        downstreams = [
            await stack.enter_async_context(ScriptedDownstream(script, name=f"d{number}"))
            for number, script in enumerate(scripts)
        ]
        settings = _settings(*downstreams, algorithm="round_robin", timeouts=TIMEOUTS)
        router = stack.enter_context(RouterProcess(settings, folder))
        crowd = Crowd(lambda: router.port, Ledgers(), clients=50, messages=messages, body=BODY)
        return await _watch(crowd, router, downstreams, messages)


async def _watch(
    crowd: Crowd, router: RouterProcess, downstreams: list[ScriptedDownstream], messages: int
) -> Report:
    """Let them send, and see how much memory the router takes meanwhile."""
    ledgers, memory, began = crowd.ledgers, list[tuple[int, int]](), time.monotonic()
    running = asyncio.ensure_future(crowd.run())
    while not running.done():
        await asyncio.wait({running}, timeout=SAMPLE_S)
        for downstream in downstreams:
            ledgers.takes(downstream.forget())
        memory.append((ledgers.answered, router.resident_bytes))
    await running
    seconds = time.monotonic() - began
    for downstream in downstreams:
        ledgers.takes(downstream.forget())
    ledgers.logs(router.doubts())
    warm, end = _resident(memory, messages)
    report = Report(violations=ledgers.violations() + crowd.errors)
    report.holds(end <= warm * FLAT + FLAT_BYTES, f"memory grew from {warm} to {end} bytes")
    report.figures = _figures(crowd) | {
        "connections": sum(downstream.connections for downstream in downstreams),
        "per second": round(messages / seconds),
        "router's CPU per message, ms": round(router.cpu_s / messages * 1000, 2),
        "memory after warm-up, MB": round(warm / 1e6, 1),
        "memory at the end, MB": round(end / 1e6, 1),
    }
    return report


def _resident(memory: list[tuple[int, int]], messages: int) -> tuple[float, float]:
    """The most in RAM from 10 to 30 % of the messages, and in the last 20 %."""
    warm = [octets for done, octets in memory if 0.1 <= done / messages <= 0.3]
    end = [octets for done, octets in memory if done / messages >= 0.8]
    return max(warm or [0]), max(end or [0])


def _figures(crowd: Crowd) -> dict[str, object]:
    ledgers = crowd.ledgers
    answers = {str(code): count for code, count in sorted(ledgers.codes.items(), key=str)}
    return {
        "messages": len(ledgers.sent),
        "answers to the final dot": answers,
        "refused before it": dict(crowd.refusals),
        "in doubt, as logged": ledgers.doubts.total(),
        "sessions lost": crowd.lost_sessions,
        "lost": sum(found.startswith("lost") for found in ledgers.violations()),
        "doubles": ledgers.doubles,
        "doubles nobody can explain": sum(found.startswith("double") for found in ledgers.violations()),
    }


async def primary(clients: int, folder: Path, *, vanishes: bool) -> Report:
    """The preferred downstream goes and comes back, three times, under many clients.

    Args:
        clients: how many.
        folder: for the configuration.
        vanishes: whether connecting takes for ever then, as with a machine that is off.
    """
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(ScriptedDownstream(name="a"))
        b = await stack.enter_async_context(ScriptedDownstream(name="b"))
        settings = _settings(a, b, algorithm="failover", timeouts={"connect_s": CONNECT_S})
        router = stack.enter_context(RouterProcess(settings, folder))
        crowd = Crowd(lambda: router.port, Ledgers(), clients=clients, body=BODY, pause_s=PAUSE_S)
        running = asyncio.ensure_future(crowd.run())
        gone: list[float] = []
        report = Report()
        await asyncio.sleep(AFTER_S)
        for _ in range(3):
            gone.append(time.monotonic())
            a.kill()
            with black_hole(a.port) if vanishes else ExitStack():
                await asyncio.sleep(AFTER_S)
            a.revive()
            before = len(a.messages)
            await asyncio.sleep(2 * AFTER_S)
            report.holds(len(a.messages) > before, "no fail-back")
        crowd.stop()
        await running
        crowd.ledgers.takes(a.messages + b.messages)
        crowd.ledgers.logs(router.doubts())
    late = sorted(
        seconds for began, seconds in crowd.answers if any(0 <= began - at < AFTER_S for at in gone)
    )
    p99 = late[len(late) * 99 // 100]
    report.violations += crowd.ledgers.violations() + crowd.errors
    report.holds(p99 < P99_S, f"p99 of {p99:.3f} s")
    heard = crowd.ledgers.codes.keys() | crowd.refusals.keys()
    report.holds(heard <= {250, 451}, f"clients heard {heard}")
    report.figures = _figures(crowd) | {
        "p50, p99, max without the primary, ms": [
            round(value * 1000) for value in (late[len(late) // 2], p99, late[-1])
        ],
    }
    return report


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Nobody answers there: a queue of connections that is full, so that the kernel takes no more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - not ours to name
            waiting.connect_ex(("127.0.0.1", port))
        yield


def kills(times: int, folder: Path) -> Report:
    """A router that is killed at random moments."""
    crowd, codes = rounds(folder, times, signals(signal.SIGKILL), clients=20)
    report = Report(_figures(crowd), crowd.ledgers.violations() + crowd.errors)
    report.holds(codes == times * [-signal.SIGKILL], "it ended otherwise")
    return report


def _script(chance: random.Random) -> dict[str, Plan]:
    return {
        **{stage: _steps(chance, (Close(), Reset())) for stage in SESSION[:1]},
        **{stage: _steps(chance, FAULTS) for stage in SESSION[1:]},
        **{stage: _steps(chance, (*FAULTS, Hang())) for stage in TRANSACTION},
    }


def _steps(chance: random.Random, faults: tuple[Step, ...]) -> Iterator[Step]:
    while True:
        yield chance.choice(faults) if chance.random() < FAULT_RATE else OK


def _settings(*downstreams: ScriptedDownstream, algorithm: str, **more: object) -> Config:
    entries = [entry(downstream) for downstream in downstreams]
    return config(user(*entries, algorithm=algorithm), health=HEALTH, **more)
