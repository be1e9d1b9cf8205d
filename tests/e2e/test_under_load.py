"""What befalls the router itself while mail flows: no message is lost, doubled or refused for good."""

import random
import resource
import signal
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from smtp_router.config.load import parse
from smtp_router.core.errors import ConfigError
from smtp_router.machine import MonotonicClock
from smtp_router.testing import ScriptedDownstream
from tests.running import Config, Router, Serve, config, user
from tests.underload import entry, evenly, load

GOOD = """\
import itertools
from smtp_router import hookimpl

turns = itertools.count()

@hookimpl
{kind} select_downstream(message, downstreams):
    if next(turns) % 5 == 4:
        {bad}
    return downstreams[0]
"""
PLUGINS = {
    "raises": "raise RuntimeError('secret detail')",
    "exits": "raise SystemExit('secret detail')",
    "interrupts": "raise KeyboardInterrupt('secret detail')",
    "hangs": "import asyncio; await asyncio.sleep(3600)",
    "blocks the loop": "import time; time.sleep(0.3)",
    "is busy": "sum(range(3_000_000))",
    "returns nonsense": "return 17",
    "returns another": "from dataclasses import replace; return replace(downstreams[0], name='x')",
    "splits the reply": "from smtp_router import Defer; raise Defer('one\\r\\n250 2.0.0 two')",
    "leaks tasks": "import asyncio; asyncio.ensure_future(asyncio.sleep(0.01))",
}
NOT_RELOADED = "not reloaded, the old configuration stays"
LINE = 98 * b"x" + b"\r\n"
HARMLESS = {"blocks the loop", "is busy", "leaks tasks"}


def by_file(*downstreams: ScriptedDownstream, **more: object) -> Config:
    return config(user(*map(entry, downstreams), algorithm="./algorithm.py"), **more)


@pytest.mark.parametrize("what", PLUGINS)
def test_a_bad_plugin_costs_its_own_messages_a_transient_reply(what: str, tmp_path: Path) -> None:
    file = tmp_path / "algorithm.py"
    kind = "async def" if "await" in PLUGINS[what] else "def"
    file.write_text(GOOD.format(kind="def", bad="pass"))
    with (
        ScriptedDownstream() as a,
        Router(by_file(a, hook_timeout_s=0.2), tmp_path) as router,
        load(router, a, clients=4) as under,
    ):
        file.write_text(GOOD.format(kind=kind, bad=PLUGINS[what]))
        under.flows(20)
        file.write_text(GOOD.format(kind="def", bad="pass"))
        under.flows(20)
    ledgers = under.check(router)
    assert ledgers.doubles == 0
    assert (451 in ledgers.codes) == (what not in HARMLESS)


@pytest.mark.parametrize(
    "text", ["import nothing_of_that_name", "def select_downstream(", "", "raise SystemExit", None]
)
def test_a_plugin_that_cannot_be_loaded_leaves_the_one_before_at_work(
    text: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "algorithm.py"
    file.write_text(GOOD.format(kind="def", bad="pass"))
    with (
        ScriptedDownstream() as a,
        Router(by_file(a), tmp_path) as router,
        load(router, a) as under,
    ):
        if text is None:  # what others may write is not loaded
            file.chmod(0o666)
        else:
            file.write_text(text)
        router.reload()
        under.flows()
    assert under.check(router).codes.keys() == {250}


def test_configurations_that_are_broken_in_mid_load_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - where a file is damaged
    with ScriptedDownstream(name="a") as a, ScriptedDownstream(name="b") as b:
        with Router(evenly(a, b), tmp_path) as router, load(router, a, b) as under:
            whole = router.file.read_bytes()
            for _ in range(20):
                before = len(router.log.find(NOT_RELOADED))
                router.write(broken(whole, router.file, chance))
                router.reload()
                router.log.wait(NOT_RELOADED, times=before + 1)
                under.flows(2)
            router.write(whole)
            under.flows()
        assert under.check(router).codes.keys() == {250}


def broken(whole: bytes, file: Path, chance: random.Random) -> bytes:
    """The configuration with an end cut off or a few octets changed, so that it is none any more."""
    while True:
        text = bytearray(whole)
        if chance.random() < 0.5:
            del text[chance.randrange(len(text)) :]
        else:
            for _ in range(3):
                text[chance.randrange(len(text))] = chance.randrange(256)
        try:
            parse(bytes(text), file)
        except ConfigError:
            return bytes(text)


def test_with_64_descriptors_those_who_are_in_go_on_and_others_are_asked_to_come_again(
    tmp_path: Path,
) -> None:
    with (
        ScriptedDownstream() as a,
        Serve(evenly(a), tmp_path, before="ulimit -n 64") as router,
        load(router, a, clients=60, forgives=True) as under,
    ):
        under.flows(400)
    assert under.check(router).codes.keys() == {250}
    assert under.crowd.lost_sessions > 0


def test_a_budget_of_memory_that_is_used_up_costs_a_transient_reply(tmp_path: Path) -> None:
    limits = {"max_message_bytes": 100_000, "max_memory_bytes": 100_000}
    with (
        ScriptedDownstream() as a,
        Router(evenly(a) | limits, tmp_path) as router,
        load(router, a, clients=16, body=300 * LINE) as under,
    ):
        under.flows(100)
    ledgers = under.check(router)
    assert under.crowd.refusals.keys() | ledgers.codes.keys() == {250, 452}


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="takes Linux")
def test_a_disk_that_is_full_for_the_state_file_stops_no_mail(tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk is to SQLite: a write that fails."""
    with ScriptedDownstream() as a:
        limited = config(user(entry(a, limits={"per_day": 100_000}), algorithm="failover"))
        with Serve(limited, tmp_path) as router:
            process, limit = router.program.process.pid, resource.RLIMIT_FSIZE
            with load(router, a) as under:
                _, most = resource.prlimit(process, limit)
                resource.prlimit(process, limit, (4096, most))
                router.log.wait("state file cannot be used, quotas are counted in memory")
                under.flows(100)
                resource.prlimit(process, limit, (most, most))
                router.log.wait("state file works again")
                under.flows()
            router.signal(signal.SIGTERM)
            assert router.ended() == 0
        ledgers = under.check(router)
    assert ledgers.codes.keys() == {250}
    counted = sqlite3.connect(tmp_path / "smtp-router.db")
    assert counted.execute("SELECT sum(units) FROM counted").fetchone() == (ledgers.codes[250],)
    counted.close()


class SetClock(MonotonicClock):
    """A clock that people set while it runs."""

    off = timedelta(0)

    def wall(self) -> datetime:
        return super().wall() + SetClock.off


def test_a_clock_that_is_set_back_and_forth_under_load_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtp_router.service.MonotonicClock", SetClock)
    limits = {"per_second": 1000, "per_hour": 100_000, "per_day": 100_000}
    with ScriptedDownstream() as a:
        limited = config(user(entry(a, limits=limits), algorithm="failover"), health={"failures": 1})
        with Router(limited, tmp_path) as router, load(router, a) as under:
            for hours in (1, -1, 25, -25, 24 * 40, 0):
                monkeypatch.setattr(SetClock, "off", timedelta(hours=hours))
                under.flows()
    assert under.check(router).codes.keys() == {250}
