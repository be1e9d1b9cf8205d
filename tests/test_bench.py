"""The benches run: every part of them, with next to nothing to do; no figure is looked at."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bench import __main__ as product
from bench import (
    caches,
    cost,
    counts,
    crowd,
    gate,
    growth,
    journal,
    load,
    memory,
    options,
    record,
    sender,
    stall,
    tls,
    users,
)
from bench.asked import Watch
from bench.clients import Client, UnexpectedError
from bench.contestants import ROOT, Edge
from smtp_router.config.load import load as load_config
from smtp_router.hooks.files import PluginFile

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="the load is a program in C")
HAS_OPENSSL = Path("/usr/include/openssl/ssl.h").exists()
needs_openssl = pytest.mark.skipif(not HAS_OPENSSL, reason="a load with TLS takes OpenSSL's headers")
SHORT = ("--repetitions", "1", "--seconds", "0.05")


@needs_cc
def test_the_bench_of_costs_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = "1k-c2-new,1k-c2-keep,10k-c1-pipe"
    if HAS_OPENSSL:
        cases += ",1k-c2-keep-tls,1k-c2-new-tls"
    file = tmp_path / "costs.json"
    beside = "null sender,edge alone,relay.py,floor.py,sink.c"
    assert cost.main(("--cases", cases, "--beside", beside, *SHORT, "--json", str(file))) == 0
    found = record.read(file).cpu
    assert list(found) == cases.split(",")
    assert set(found["1k-c2-new"]) >= {"smtp-router", "null sender", "edge alone", "relay.py"}
    assert all(
        row["failed"] == 0 and row["per_s"] > 0 for rows in found.values() for row in rows.values()
    )
    assert cases.rpartition(",")[2] in capsys.readouterr().out


@needs_cc
@pytest.mark.parametrize("peer", ["haproxy", "postfix"])
def test_a_peer_runs_or_is_missed_in_words(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(("--cases", "1k-c2-keep", "--beside", peer, *SHORT)) == 0
    said = capsys.readouterr()
    assert f"without {peer}: " in said.err or f" {peer} " in said.out


def test_a_case_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="is no case"):
        cost.parse_case("2k-c20-keep")


COUNTED = record.Counted(bytecodes=1000, calls=100, instructions=10_000)
BASELINE = replace(record.make(counts={"1k-c20-keep": COUNTED}), python="CPython 3.11", build="this one")


def regressions(now: record.Record) -> list[str]:
    return [each.figure for each in gate.compare(now, BASELINE) if each.is_regression]


@pytest.mark.parametrize("figure", ["bytecodes", "calls", "instructions"])
def test_a_count_may_grow_by_fifteen_per_cent_and_no_more(figure: str) -> None:
    before = getattr(COUNTED, figure)
    for factor, expected in ((0.5, []), (1.15, []), (1.151, [figure])):
        counted = replace(COUNTED, **{figure: before * factor})
        assert regressions(replace(BASELINE, counts={"1k-c20-keep": counted})) == expected


def test_only_what_is_alike_is_compared() -> None:
    counts = {"1k-c20-keep": record.Counted(bytecodes=2000, calls=200, instructions=20_000)}
    worse = replace(BASELINE, counts=counts)
    assert regressions(worse) == ["bytecodes", "calls", "instructions"]
    assert regressions(replace(worse, build="another")) == ["bytecodes", "calls"]
    assert regressions(replace(worse, build="another", python="CPython 3.13")) == []
    uncounted = {"1k-c20-keep": replace(COUNTED, instructions=None), "another": COUNTED}
    assert regressions(replace(BASELINE, counts=uncounted)) == []


@needs_cc
def test_the_bench_fails_where_the_baseline_is_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "CONTROL", "not-installed")  # callgrind takes its time
    file, baseline = tmp_path / "latest.json", tmp_path / "baseline.json"
    what = ("--cases", "", "--counted", "1k-c1-keep", "--json", str(file), "--baseline", str(baseline))
    assert product.main((*what, "--new-baseline")) == 0
    assert "nothing to compare with" in capsys.readouterr().out
    known = record.read(baseline)
    assert record.read(file).counts == known.counts
    counted = known.counts["1k-c1-keep"]
    better = {"1k-c1-keep": replace(counted, bytecodes=counted.bytecodes / 1.2)}
    record.write(baseline, replace(known, counts=better))
    assert product.main(what) == 1
    said = capsys.readouterr()
    assert said.out.count("TOO MUCH") == 1
    assert "without instructions: not-installed is not installed" in said.err


@needs_cc
def test_the_bench_of_caches_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "CALLGRIND", ("not-installed",))
    assert caches.main(("--kib", "512")) == 1
    assert "not-installed is not installed" in capsys.readouterr().err


@needs_cc
def test_the_bench_of_caches_tells_what_callgrind_has_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    @contextmanager
    def watching(*what: object) -> Iterator[Callable[[load.Load], counts.Events]]:
        given.extend(map(str, what[3:]))
        # callgrind itself takes its time
        (tmp_path / "callgrind.1").write_text(
            "events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\n\nfn=(0)\ntotals: 900 0 0 80 30 7 20 4 1\n"
        )
        (tmp_path / "callgrind.2").write_text("events: Ir Dr Dw I1mr\nsummary: 100 0 0 8\n")
        yield lambda _: counts._totals(tmp_path)  # noqa: SLF001 - what reads them

    monkeypatch.setattr(caches, "watching", watching)
    assert caches.main(("--cases", "1k-c1-keep", "--kib", "512")) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["1k-c1-keep", "512", "1000", "88", "37", "25"]
    assert "--LL=524288,8,64" in given
    assert not list(tmp_path.iterdir())


@needs_cc
def test_the_bench_of_a_crowd_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert crowd.main(("--many", "6", "--some", "2", *SHORT)) == 0
    assert "6 idle, 2 slow" in capsys.readouterr().out


@needs_cc
def test_the_bench_of_growth_draws_all_its_panels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, file = tmp_path / "first.svg", tmp_path / "again.svg", tmp_path / "growth.json"
    what = ("--quantities", "plugins,recipients", "--beside", "", "--points", "1", *SHORT)
    assert growth.main((*what, "--picture", str(first), "--json", str(file))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["plugins", "recipients"]
    assert growth.main(("--draw", str(file), "--picture", str(again))) == 0
    for panel in growth.PANELS.values():
        assert f"<!-- {panel.label} -->" in again.read_text()
    assert first.stat().st_size == again.stat().st_size


@needs_cc
def test_the_bench_of_options_compares_each_with_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--cases", "an async one", "--repetitions", "1", "--seconds", "0.05")
    assert options.main(asked) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["with", "base,", "cpu", "ms/msg", "so", "ratio"]
    assert row.startswith("an async one ")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_bench_of_the_log_takes_lines_and_metrics_together(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert journal.main(("--rounds", "1", "--log-format", log_format)) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    lines, metrics, together = (float(us) for _, us in rows)
    assert [name for name, _ in rows] == ["lines", "metrics", "together"]
    assert together == pytest.approx(lines + metrics, abs=0.02)


@needs_cc
@needs_openssl
def test_the_bench_of_tls_resumes_sessions_on_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert tls.main(("--alone", "--clients", "1", "--seconds", "0.2", "--repetitions", "1")) == 0
    both, clear = (line.split("  ") for line in capsys.readouterr().out.splitlines()[1:3])
    both, clear = ([cell.strip() for cell in cells if cell] for cells in (both, clear))
    assert (both[0], both[7], both[8]) == ("smtp-router", "1.0", "0")
    assert float(both[6]) > 0
    assert both[9] == both[10]
    assert (clear[0], clear[7], clear[8]) == ("smtp-router, clear downstream", "clear", "0")


@needs_cc
@pytest.mark.parametrize(("bench", "code"), [(tls, 2), (cost, 0)])
def test_benches_say_what_tls_takes(
    bench: ModuleType, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "WITH_TLS", ("-DWITH_TLS", "-lnot-installed"))
    what = ("--cases", "1k-c1-new-tls", "--beside", "") if bench is cost else ("--alone",)
    assert bench.main((*what, *SHORT)) == code
    assert "apt install libssl-dev" in capsys.readouterr().err


@needs_cc
def test_a_message_that_is_refused_counts_as_failed(tmp_path: Path) -> None:
    big = load.Load(size=60_000_000, clients=1, mode="keep")  # above max_message_bytes
    with Edge(tmp_path) as router:
        done = load.run(load.build("load", tmp_path), big, router, 0.05)
    assert done.told.ok == 0
    assert done.told.failed > 0
    assert "552 5.3.4" in done.told.first_error


@needs_cc
def test_the_bench_of_the_sender_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert sender.main(("--messages", "4", "--repetitions", "1")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(sender.CASES)


def test_the_bench_of_memory_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(("--connections", "3", "--messages", "2", "--megabytes", "0.5")) == 0
    connections, messages = capsys.readouterr().out.split("\n\n")
    assert [line.split()[1] for line in connections.splitlines()[1:]] == ["clear"] * 5 + ["TLS"] * 5
    assert [line.split()[1] for line in messages.splitlines()[1:]] == ["clear"] * 3 + ["TLS"] * 3 + [
        "clear"
    ] * 3


def test_the_bench_of_what_holds_the_loop_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert stall.main(("--megabytes", "0.1", "--connections", "3", "--repetitions", "1")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(stall.WAYS) * len(stall.CONTENTS)


async def test_a_held_loop_is_seen() -> None:
    watch = Watch(asyncio.get_running_loop())
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    for _ in range(3):  # the tick is due
        await asyncio.sleep(0)
    held_s, held_cpu_s = watch.read()
    assert held_s > 0.018
    assert held_cpu_s > 0.018
    assert watch.read() == (0.0, 0.0)


def test_the_yardstick_finds_what_it_looks_for() -> None:
    file = ROOT / "bench" / "yardstick.yaml"
    settings = load_config(file).settings
    user = settings.users[0]
    assert [str(each.addr) for each in settings.listen] == ["127.0.0.1:2625"]
    assert user.email == "user@bench.test"
    assert user.password.reveal() == "pw12345"
    assert [each.name for each in user.downstreams] == ["127.0.0.1:2701", "127.0.0.1:2702"]
    stamp = PluginFile(file.parent / str(user.plugins[0].use)).load("stamp", trust_all=True)
    assert {"before_send", "after_send"} <= set(dir(stamp))


def test_a_client_says_what_it_did_not_expect(tmp_path: Path) -> None:
    refused = pytest.raises(UnexpectedError, match=r"503 5\.5\.1")
    with Edge(tmp_path) as router, Client(router.port) as client, refused:
        client.envelope()


def test_the_bench_of_users_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "REST_S", 0.05)
    monkeypatch.setattr(users, "CHANGED_S", 0.05)
    file = tmp_path / "users.json"
    assert users.main(("--users", "2", "--repetitions", "1", "--json", str(file))) == 0
    assert json.loads(file.read_text())["2"]["resident_mib"] > 0
    assert "held ms" in capsys.readouterr().out
