"""Edits of the configuration and of plugin files: from the next message on, or not at all."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from smtp_router import ConfigError, Outcome
from smtp_router.config.load import Loaded, load
from smtp_router.core.decision import OUR_FAULT
from smtp_router.hooks.registry import Registry
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import Router
from tests.routing.bench import FIRST, Bench, records
from tests.support import USER, Sent, config_text, delivered, user_config

LAST = FIRST.replace("downstreams[0]", "downstreams[-1]")

COUNTING = """\
from smtp_router import hookimpl

class Counting:
    def __init__(self):
        self.count = 0

    @hookimpl
    def select_downstream(self, downstreams):
        self.count += 1
        return downstreams[self.count % len(downstreams)]
"""


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error, since the last call."""
    said = []
    for record in caplog.records:
        if record.levelno >= logging.ERROR:
            fields = vars(record)["fields"]
            said.append(str(fields.get("problem") or fields.get("error")))
    caplog.clear()
    return said


# Plugin files.


async def test_an_edit_counts_from_the_next_message_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.route()
    bench.write("algorithm.py", LAST)
    await bench.route()
    bench.write("algorithm.py", FIRST)
    await bench.route()
    assert bench.sender.names == ["a", "b", "a"]
    assert bench.epochs.current.number == 3


async def test_an_edit_of_any_plugin_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"override.py": LAST})
    await bench.route()
    bench.write("override.py", FIRST)
    await bench.route()
    assert bench.sender.names == ["b", "a"]


async def test_an_edit_counts_without_a_message_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("algorithm.py", LAST)
    await bench.epochs.poll()
    assert bench.epochs.current.number == 2
    await bench.epochs.poll()
    assert bench.epochs.current.number == 2


async def test_a_message_keeps_the_epoch_it_started_with(tmp_path: Path) -> None:
    sending, edited = asyncio.Event(), asyncio.Event()

    async def slowly(_: Sent) -> Outcome:
        sending.set()
        await edited.wait()
        return delivered()

    note = FIRST + "\n@hookimpl\ndef after_send():\n    TOLD.append({!r})\n"
    bench = Bench(tmp_path, {"algorithm.py": note.format("old")}, script={"a": slowly})
    told: list[str] = []
    bench.globals_of("algorithm.py")["TOLD"] = told
    old = asyncio.create_task(bench.route(id="old"))
    await sending.wait()
    bench.write("algorithm.py", note.format("new"))
    bench.write("config.yaml", config_text(settings={"deadline_s": 7}))
    await bench.epochs.poll()
    bench.globals_of("algorithm.py")["TOLD"] = told
    new = asyncio.create_task(bench.route(id="new"))
    edited.set()
    await asyncio.gather(old, new)
    assert sorted(told) == ["new", "old"]
    assert [sent.deadline - bench.clock.now() for sent in bench.sender.sent] == [120, 7]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = (", "./algorithm.py: syntax error: '(' was never closed ({file}:1)"),
        (
            "x = 1\n1 / 0",
            "./algorithm.py: failed on import: ZeroDivisionError: division by zero ({file}:2)",
        ),
        (FIRST.replace("@hookimpl\n", ""), "./algorithm.py: select_downstream is not marked: "),
        ("import sys\nsys.exit(1)", "./algorithm.py: failed on import: SystemExit: 1 ({file}:2)"),
    ],
    ids=["syntax error", "exception", "unmarked", "exit"],
)
async def test_a_broken_edit_leaves_the_last_good_version_and_is_logged_once(
    tmp_path: Path, source: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, {"algorithm.py": LAST})
    bench.write("algorithm.py", source)
    for _ in range(3):
        assert (await bench.route()).code == 250
        await bench.epochs.poll()
    assert bench.sender.names == ["b", "b", "b"]
    (said,) = complaints(caplog)
    assert said.startswith(why.format(file=tmp_path / "algorithm.py"))
    bench.write("algorithm.py", FIRST)
    await bench.route()
    assert bench.sender.names[-1] == "a"


async def test_an_edit_that_loads_but_does_not_fit_leaves_the_old_one_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, {"algorithm.py": LAST})
    bench.write("algorithm.py", FIRST.replace("select_downstream(downstreams):", "before_send():"))
    for _ in range(3):
        await bench.route()
        await bench.epochs.poll()
    assert bench.sender.names == ["b", "b", "b"]
    (said,) = complaints(caplog)
    assert said.startswith(f"{bench.config}:")
    assert said.endswith("./algorithm.py: is no algorithm: it has no select_downstream hook")


async def test_a_class_keeps_its_state_while_nothing_of_its_own_changes(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, {"algorithm.py": COUNTING, "other.py": LAST.replace("return", "return None and")}
    )
    await bench.route()
    bench.write("other.py", "# edited\n" + (tmp_path / "other.py").read_text())
    bench.write("config.yaml", config_text(plugins=["./other.py"], password="other"))
    await bench.epochs.reload()
    await bench.route()
    assert bench.epochs.current.number == 2
    assert bench.sender.names == ["b", "a"]
    bench.write("algorithm.py", COUNTING + "# edited\n")
    await bench.route()
    assert bench.sender.names == ["b", "a", "b"]


async def test_many_messages_refresh_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("algorithm.py", LAST)
    await asyncio.gather(*(bench.route(id=str(number)) for number in range(20)))
    assert bench.epochs.current.number == 2
    assert set(bench.sender.names) == {"b"}


async def test_a_user_who_has_gone_at_the_refresh_is_told_to_come_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(email="another"))
    await bench.epochs.poll()
    assert (await bench.route()).code == 451
    assert (await bench.route(user="another")).code == 250


async def test_a_client_that_goes_away_during_a_refresh_does_not_lose_the_edit(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    loading, go_on = threading.Event(), threading.Event()
    bench.globals_of("algorithm.py")["__builtins__"]["_test_gate"] = (loading, go_on)
    try:
        bench.write("algorithm.py", "_test_gate[0].set(); _test_gate[1].wait(30)\n" + LAST)
        task = asyncio.create_task(bench.route())
        await asyncio.to_thread(loading.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([task])
    finally:
        go_on.set()
        del bench.globals_of("algorithm.py")["__builtins__"]["_test_gate"]
    assert task.cancelled()
    await bench.route()
    assert bench.sender.names[-1] == "b"


# The configuration.


async def test_an_edit_of_the_configuration_counts_when_it_is_polled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(downstreams={"z": "z.example:25"}, password="new"))
    await bench.epochs.poll()
    await bench.epochs.poll()
    await bench.route()
    assert bench.sender.names == ["z"]
    assert bench.user.user.password.reveal() == "new"
    assert records(caplog, "reloaded") == [{"epoch": 2}]


async def test_a_touched_configuration_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.config.touch()
    await bench.epochs.poll()
    assert bench.epochs.current.number == 1


async def test_a_reload_on_request_reads_everything_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.epochs.reload()
    assert bench.epochs.current.number == 2


async def test_a_file_that_a_reference_names_is_looked_at_too(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    bench = Bench(tmp_path, password="${file:./secret}")
    secret.write_text("two")
    await bench.epochs.poll()
    assert bench.user.user.password.reveal() == "two"
    secret.write_text("six")
    await bench.epochs.poll()
    assert bench.user.user.password.reveal() == "six"


@pytest.mark.parametrize(
    "text",
    ["users: [", "", "users: []", config_text(zzz=1), config_text(algorithm="./none.py"), "\0", None],
    ids=["no YAML", "empty", "no users", "unknown key", "no such plugin", "binary", "gone"],
)
async def test_a_bad_configuration_leaves_the_old_one_and_is_logged_once(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    good = bench.config.read_text()
    if text is None:
        bench.config.unlink()
    else:
        bench.write("config.yaml", text)
    for _ in range(3):
        await bench.epochs.poll()
        assert (await bench.route()).code == 250
    assert bench.epochs.current.number == 1
    said = complaints(caplog)
    assert said
    assert len(said) == len(set(said))
    assert all(line.startswith(f"{bench.config}:") for line in said)
    bench.write("config.yaml", good + "deadline_s: 5\n")
    await bench.epochs.poll()
    assert bench.epochs.current.settings.deadline_s == 5
    assert complaints(caplog) == []


async def test_each_bad_edit_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path)
    for text in ("users: [", "users: {", "users: ["):
        bench.write("config.yaml", text)
        await bench.epochs.poll()
        assert len(complaints(caplog)) == 1
        await bench.epochs.poll()
        assert complaints(caplog) == []


async def test_no_secret_is_logged_with_a_bad_configuration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(password="s3cret", zzz=1))
    await bench.epochs.poll()
    assert complaints(caplog)
    assert "s3cret" not in caplog.text


async def test_what_mends_a_bad_configuration_need_not_be_in_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin's file that appears or is mended, or a secret's: it was named, so it is looked at."""
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(algorithm="./new.py", password="${file:./secret}"))
    await bench.epochs.poll()
    assert "the file ./secret cannot be read" in complaints(caplog)[0]
    (tmp_path / "secret").write_text("new")
    await bench.epochs.poll()
    assert "./new.py: cannot be read: No such file or directory" in complaints(caplog)[0]
    bench.write("new.py", "x = (")
    await bench.epochs.poll()
    assert "./new.py: syntax error" in complaints(caplog)[0]
    await bench.epochs.poll()
    assert bench.epochs.current.number == 1
    assert complaints(caplog) == []
    bench.write("new.py", LAST)
    await bench.epochs.poll()
    await bench.epochs.poll()
    assert bench.epochs.current.number == 2
    assert complaints(caplog) == []
    await bench.route()
    assert bench.sender.names == ["b"]
    assert bench.user.user.password.reveal() == "new"


async def test_an_edit_of_a_plugin_counts_while_the_configuration_is_bad(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bad = config_text(user_config(), user_config(email="another", algorithm="./none.py"))
    bench.write("config.yaml", bad)
    bench.write("algorithm.py", LAST)
    await bench.epochs.poll()
    await bench.route()
    bench.write("algorithm.py", FIRST)
    await bench.epochs.poll()
    await bench.route()
    bench.write("algorithm.py", LAST)
    await bench.route()
    assert bench.sender.names == ["b", "a", "b"]
    assert list(bench.epochs.current.routes) == [USER]


async def test_listen_is_the_one_key_that_takes_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(settings={"listen": [{"addr": "127.0.0.1:2525"}]}))
    await bench.epochs.poll()
    assert bench.epochs.current.number == 2
    assert [record.getMessage() for record in caplog.records] == [
        "listen has changed, which takes a restart"
    ]


async def test_another_state_file_takes_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(settings={"state": "other.db"}))
    await bench.epochs.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "state has changed, which takes a restart"
    ]


# How it begins, and what it stands on.


def test_the_first_epoch_has_to_be_usable(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "algorithm.py").unlink()
    with pytest.raises(ConfigError):
        LiveEpochs(load(bench.config), Registry())


async def test_how_the_configuration_is_read_may_be_given(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    read: list[Path] = []

    def note(file: Path) -> Loaded:
        read.append(file)
        return load(file)

    epochs = LiveEpochs(load(bench.config), Registry(), read=note)
    await epochs.reload()
    assert read == [bench.config]


async def test_a_fault_while_refreshing_is_transient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)

    class Broken:
        current = bench.epochs.current

        async def refresh(self) -> Any:  # noqa: ANN401 - never returns
            raise OSError("s3cret")

    bench.write("algorithm.py", LAST)
    bench.router = Router(Broken(), bench.sender, bench.clock, chance=lambda: 0.0)
    assert await bench.route() == OUR_FAULT
    assert caplog.records[0].getMessage() == "routing failed"
