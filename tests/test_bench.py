"""The benches run: every part of them, with next to nothing to do; no figure is looked at."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest

from bench import crowd, edge, load, memory, sender, stall
from bench.asked import Watch
from bench.clients import Client, UnexpectedError
from bench.contestants import ROOT, Edge
from smtp_router.config.load import load as load_config
from smtp_router.hooks.files import PluginFile

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="the load is a program in C")
SHORT = ("--repetitions", "1", "--seconds", "0.05")


@needs_cc
def test_the_bench_of_the_edge_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = "1k-c2-new,1k-c2-keep,10k-c1-pipe,1k-c2-keep-tls,1k-c2-new-tls"
    file = tmp_path / "edge.json"
    arguments = ("--cases", cases, "--beside", "floor.py,sink.c", *SHORT, "--json", str(file))
    assert edge.main(arguments) == 0
    found = json.loads(file.read_text())["cases"]
    assert list(found) == cases.split(",")
    assert set(found["1k-c2-new"]) >= {"smtp-router"}
    assert all(
        row["failed"] == 0 and row["per_s"] > 0 for rows in found.values() for row in rows.values()
    )
    assert "1k-c2-new-tls" in capsys.readouterr().out


@needs_cc
@pytest.mark.parametrize("peer", ["haproxy", "postfix"])
def test_a_peer_runs_or_is_missed_in_words(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.main(("--cases", "1k-c2-keep", "--beside", peer, *SHORT)) == 0
    said = capsys.readouterr()
    assert f"without {peer}: " in said.err or f" {peer} " in said.out


def test_a_case_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="is no case"):
        edge.parse_case("2k-c20-keep")


@needs_cc
def test_the_bench_of_a_crowd_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert crowd.main(("--many", "6", "--some", "2", *SHORT)) == 0
    assert "6 idle, 2 slow" in capsys.readouterr().out


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
    assert memory.main(("--connections", "3")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["clear"] * 5 + ["TLS"] * 5


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
