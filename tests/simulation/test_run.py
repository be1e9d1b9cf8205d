"""Whole runs: what is counted is what was sent, and the same seed is the same run."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from smtp_router.config.load import parse
from smtp_router.config.scenario import Scenario
from smtp_router.simulation.clock import START
from smtp_router.simulation.report import Plain, report
from smtp_router.simulation.run import World, run
from smtp_router.simulation.sides import sides, user_of
from smtp_router.simulation.traffic import MadeUp
from tests.support import USER, config_text


def simulate(
    scenario: Mapping[str, Any] | None = None,
    *,
    folder: Path = Path("/nowhere"),
    count: int = 2000,
    seed: int = 1,
    compare: tuple[str, ...] = (),
    **config: Any,  # noqa: ANN401 - as for config_text
) -> Plain:
    text = config_text(**{"algorithm": "failover", **config})
    loaded = parse(text.encode(), folder / "config.yaml")
    assumed = Scenario.model_validate(scenario or {})
    traffic = MadeUp(assumed, USER, seed, count=count, rate=assumed.rate, start=assumed.start or START)
    world = World(scenario=assumed, traffic=traffic, user=USER, seed=seed)
    algorithms = sides(loaded, user_of(loaded, USER), compare)
    return report(world, [run(side.name, side.loaded, world) for side in algorithms])


BAD = {
    "downstreams": {
        "a": {
            "failure": {"deferred": 0.05, "rejected": 0.01, "in_doubt": 0.005},
            "outages": [{"from": "20s", "to": "40s"}],
            "cost_per_1000": 2,
        }
    }
}


def test_every_message_is_counted_once_and_every_attempt() -> None:
    (found,) = simulate(BAD)["runs"]
    messages = found["messages"]
    assert messages["total"] == 2000
    assert sum(count for kind, count in messages.items() if kind != "total") == 2000
    assert sum(found["replies"].values()) == 2000
    attempts = sum(one["attempts"] for one in found["downstreams"].values())
    assert attempts == found["attempts"] == round(found["attempts_per_message"] * 2000)
    for name, one in found["downstreams"].items():
        kinds = ("delivered", "deferred", "rejected", "in_doubt")
        assert sum(one[kind] for kind in kinds) == one["attempts"]
        over_time = found["over_time"]["attempts"][name]
        assert {kind: sum(over_time[kind]) for kind in kinds} == {kind: one[kind] for kind in kinds}
    a = found["downstreams"]["a"]
    assert a["rejected"] == messages["rejected"] > 5
    assert found["cost"] == pytest.approx(a["delivered"] * 2 / 1000)


def test_an_outage_is_left_and_come_back_from() -> None:
    (found,) = simulate(BAD)["runs"]
    (outage,) = found["outages"]
    assert outage["shares"]["before"]["a"] > 0.9
    assert outage["shares"]["during"]["a"] < 0.1
    assert outage["left_after_s"] < 1
    assert 0 < outage["back_after_s"] < 20
    assert outage["rests"]


def test_what_another_outage_does_is_not_counted_as_what_comes_after_one() -> None:
    outages = [{"from": "30s", "to": "50s"}, {"from": "10s", "to": "20s"}]
    settings = {"health": {"rest_s": 0.1, "max_rest_s": 0.1}}
    scenario = {"downstreams": {"a": {"outages": outages}}}
    (found,) = simulate(scenario, settings=settings)["runs"]
    first, second = found["outages"]
    assert (first["from_s"], second["from_s"]) == (10, 30)
    for outage in (first, second):
        assert outage["shares"]["before"]["a"] > 0.9
        assert outage["shares"]["during"]["a"] < 0.3
        assert outage["shares"]["after"]["a"] > 0.9


def test_an_algorithm_that_pays_no_attention_never_leaves() -> None:
    blind = {"failures": 10**9, "failure_rate": 1, "min_attempts": 10**9}
    scenario = {"downstreams": {"a": {"outages": [{"from": "20s", "to": "40s"}]}}}
    (found,) = simulate(scenario, settings={"health": blind})["runs"]
    (outage,) = found["outages"]
    assert outage["left_after_s"] is None
    assert outage["attempts_failed"] > 300


def test_those_who_are_compared_meet_the_same_mail_and_the_same_luck() -> None:
    scenario = {"downstreams": {"a": {"failure": {"rejected": 0.1}}}}
    first, second = simulate(scenario, compare=("{use: weighted}",))["runs"]
    assert (first["algorithm"], second["algorithm"]) == ("failover", "weighted")
    # weighted brings half of them to a, where the same ones are refused, and no others.
    assert 0 < second["messages"]["rejected"] < first["messages"]["rejected"]
    again = simulate(scenario, compare=("failover",))["runs"]
    assert [run.pop("algorithm") for run in again] == ["failover (1)", "failover (2)"]
    assert again[0] == again[1]


def test_limits_and_waiting_lines_work_in_virtual_time() -> None:
    limited = {"limits": {"per_second": 5, "wait_s": 60}}
    (found,) = simulate(
        {"rate": "10/s"}, count=200, downstreams={"a": {"addr": "a.example:25", **limited}}
    )["runs"]
    assert found["messages"]["delivered"] == 200
    assert found["seconds"] > 35
    assert found["latency_s"]["p95"] > 10


def test_quotas_are_counted_in_memory_and_begin_anew_with_the_day(tmp_path: Path) -> None:
    limited = {"addr": "a.example:25", "limits": {"per_day": 100}}
    start = {"start": "2026-01-05T23:59:00Z", "rate": "3/s", "arrivals": "constant"}
    (found,) = simulate(start, folder=tmp_path, count=400, downstreams={"a": limited})["runs"]
    assert found["messages"]["delivered"] == 200
    assert found["replies"]["451 4.7.1"] == 200
    assert not list(tmp_path.iterdir())


def test_one_who_asks_for_the_network_is_told_that_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(
        "import asyncio\nfrom smtp_router import hookimpl\n\n@hookimpl\n"
        "async def select_downstream(downstreams):\n"
        "    await asyncio.open_connection('127.0.0.1', 9)\n"
    )
    (found,) = simulate(folder=tmp_path, count=10, algorithm="./asks.py")["runs"]
    assert found["messages"]["deferred"] == 10
    ((event, count),) = found["events"].items()
    assert "a simulation has no network" in event
    assert count == 10


def test_an_edit_during_a_run_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "edits.py").write_text(
        "import pathlib\nfrom smtp_router import hookimpl\n\n@hookimpl\n"
        "def select_downstream(downstreams):\n"
        "    file = pathlib.Path(__file__)\n"
        "    file.write_text(file.read_text().replace('[0]', '[1]'))\n"
        "    return downstreams[0]\n"
    )
    (found,) = simulate(folder=tmp_path, count=10, algorithm="./edits.py")["runs"]
    assert found["downstreams"]["a"]["delivered"] == 10
    assert "[1]" in (tmp_path / "edits.py").read_text()


DRAWS = """\
import asyncio
import random
from smtp_router import hookimpl

@hookimpl
async def select_downstream(downstreams):
    await asyncio.sleep(random.random() / 1000)
    return random.choice(downstreams)
"""


def test_the_same_seed_is_the_same_octets_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "draws.py").write_text(DRAWS)
    (tmp_path / "config.yaml").write_text(config_text(algorithm="./draws.py"))
    (tmp_path / "bad.yaml").write_text(json.dumps({**BAD, "rate": "300/s"}))
    for path in tmp_path.iterdir():
        path.chmod(0o644)

    def octets(hash_seed: int, seed: int) -> bytes:
        return subprocess.run(  # noqa: S603 - our own words
            [
                *(sys.executable, "-m", "smtp_router", "simulate", "-c", "config.yaml"),
                *("--scenario", "bad.yaml", "--messages", "3000", "--seed", str(seed)),
                *("--compare", "round_robin", "--json", "-"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
            capture_output=True,
        ).stdout

    once = octets(1, 5)
    assert once == octets(2, 5)
    assert once != octets(1, 6)
    assert len(json.loads(once)["runs"]) == 2
