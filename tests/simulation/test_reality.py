"""What is simulated is what happens: the same plugin and the same history make the same decisions.

First real servers fail behind the real sender, over real sockets. Then the log of that run is replayed
with a scenario that says when they did. Every message has to take the same way.
"""

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smtp_router.cli.logs import json_line
from smtp_router.config.load import Loaded, parse
from smtp_router.config.scenario import Kind, Scenario
from smtp_router.hooks.registry import Registry
from smtp_router.routing.journal import Journal
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import Router
from smtp_router.simulation.recorded import Recorded
from smtp_router.simulation.run import World, run
from smtp_router.smtp.sender import SmtpSender
from smtp_router.testing import Answer, Hang, ScriptedDownstream
from tests.support import USER, config_text, make_message

SEED = 7
HOUR_S = 3600.0
LIMIT_S = 0.2
HEALTH = {"failures": 3, "rest_s": 600, "max_rest_s": 600}
TIMEOUTS = {"connect_s": LIMIT_S, "banner_s": LIMIT_S, "mail_s": LIMIT_S}
POOL = {"idle_s": 86_400, "max_connection_age_s": 86_400}  # the sender's clock is nowhere ahead
QUICK = {"latency": "0.1ms", "connect": "0.1ms"}
PER_PHASE = 12

Way = list[tuple[str, str, str]]
"""Downstream, outcome and stage of each attempt for a message."""


class AheadClock:
    """The machine's time, and some more when a test says so."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._began = time.monotonic()
        self._start = datetime(2026, 3, 2, 10, tzinfo=UTC)

    def now(self) -> float:
        return time.monotonic() + self.ahead_s

    def wall(self) -> datetime:
        return self._start + timedelta(seconds=self.now() - self._began)

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


class Lines(Journal):
    """A journal that keeps what `serve --log-format json` would write."""

    def __init__(self, clock: AheadClock) -> None:
        self._clock = clock
        self.entries: list[dict[str, Any]] = []

    def writes(self, level: int) -> bool:
        return level >= logging.INFO

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        self.take(self._clock.wall().timestamp(), level, event, fields)

    def take(self, at: float, level: int, event: str, fields: Mapping[str, object]) -> None:
        self.entries.append(json.loads(json_line(at, level, "router", event, fields)))
        self.entries[-1]["time"] = datetime.fromtimestamp(at, UTC).isoformat()

    def ways(self) -> dict[str, Way]:
        """Every message's way, in the order in which they were done."""
        found: dict[str, Way] = {entry["id"]: [] for entry in self.of("message")}
        for entry in self.of("attempt"):
            found[entry["id"]].append((entry["downstream"], entry["outcome"], entry["stage"]))
        return found

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]


def break_by_refusing(downstream: ScriptedDownstream) -> None:
    downstream.kill()


def break_by_script(script: Mapping[str, Any]) -> Callable[[ScriptedDownstream], None]:
    return lambda downstream: downstream.follow(script)


FAULTS: Mapping[str, tuple[Callable[[ScriptedDownstream], None], dict[str, Any]]] = {
    "refused": (break_by_refusing, {"how": "refused"}),
    "451": (break_by_script({"mail": Answer(451, "4.3.2 down")}), {"how": "451 4.3.2 down"}),
    "greylisting": (
        break_by_script({"rcpt": Answer(450, "4.2.1 later")}),
        {"how": "450 4.2.1 later", "stage": "rcpt"},
    ),
    "421": (
        break_by_script({"banner": Answer(421, "4.3.2 bye"), "mail": Answer(421, "4.3.2 bye")}),
        {"how": "421 4.3.2 bye"},
    ),
    "timeout": (break_by_script({"banner": Hang(), "mail": Hang()}), {"how": "timeout"}),
}


async def real(config: str, folder: Path, fault: str) -> tuple[Loaded, Lines, dict[str, Any]]:
    """Mail before, during and after an outage of the first server; the lines, and when it was."""
    async with ScriptedDownstream(name="a") as a, ScriptedDownstream(name="b") as b:
        text = config.replace("1:1111", f"1:{a.port}").replace("1:2222", f"1:{b.port}")
        loaded = parse(text.encode(), folder / "config.yaml")
        return loaded, *await happened(loaded, a, fault)


async def happened(
    loaded: Loaded, server: ScriptedDownstream, fault: str
) -> tuple[Lines, dict[str, Any]]:
    clock = AheadClock()
    lines = Lines(clock)
    epochs = LiveEpochs(loaded, Registry(clock, seed=SEED))
    sender = SmtpSender()
    router = Router(epochs, sender, clock, chance=lambda: 0.0, journal=lines)
    numbers = itertools.count()
    began = clock.wall()

    async def some() -> None:
        for _ in range(PER_PHASE):
            clock.ahead_s += 0.1
            number = next(numbers)
            await router.route(make_message(id=f"{number:020x}", received_at=clock.wall()))
        clock.ahead_s += HOUR_S

    def elapsed() -> float:
        return (clock.wall() - began).total_seconds()

    await some()
    begin = elapsed()
    FAULTS[fault][0](server)
    await some()
    end = elapsed()
    server.release()
    server.follow({})
    server.revive()
    await some()
    await sender.close()
    # The recorded run begins with the first message: nothing happens for a minute on either side.
    return lines, {"from": begin - 60, "to": end - 60}


@pytest.mark.parametrize("algorithm", ["failover", "round_robin", "weighted"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_simulated_outage_is_dealt_with_as_a_real_one(
    fault: str, algorithm: str, tmp_path: Path
) -> None:
    config = config_text(
        algorithm=algorithm,
        downstreams={
            "a": {"addr": "127.0.0.1:1111", "options": {"weight": 3}, "pool": POOL},
            "b": {"addr": "127.0.0.1:2222", "options": {"weight": 1}, "pool": POOL},
        },
        settings={"health": HEALTH, "timeouts": TIMEOUTS},
    )
    loaded, happened, outage = asyncio.run(real(config, tmp_path, fault))
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{json.dumps(entry)}\n" for entry in happened.entries), "utf-8")
    scenario = Scenario.model_validate(
        {"downstreams": {"a": {**QUICK, "outages": [{**outage, **FAULTS[fault][1]}]}, "b": QUICK}}
    )
    simulated = simulate(loaded, scenario, log)
    assert simulated.ways() == happened.ways()
    assert len(happened.ways()) == 3 * PER_PHASE
    failed = [entry for entry in happened.of("attempt") if entry["outcome"] != "delivered"]
    assert failed
    assert {entry["downstream"] for entry in failed} == {"a"}
    if fault == "timeout":
        for lines in (happened, simulated):
            took = [entry["seconds"] for entry in lines.of("attempt") if entry["outcome"] != "delivered"]
            assert all(LIMIT_S <= seconds < 5 * LIMIT_S for seconds in took)


def simulate(loaded: Loaded, scenario: Scenario, log: Path) -> Lines:
    lines = Lines(AheadClock())
    traffic = Recorded(log, USER, Kind(), SEED, most=None, start=None)
    world = World(scenario=scenario, traffic=traffic, user=USER, seed=SEED)
    run("as it was", loaded, world, log=lines.take)
    return lines
