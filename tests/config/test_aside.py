"""What another process has read is what this one would have read."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from smtp_router.config.aside import load_aside
from smtp_router.config.load import InvalidConfigError, load
from smtp_router.config.shape import shape
from smtp_router.config.types import NO_OPTIONS
from smtp_router.core.errors import ConfigError
from tests.support import config_text, user_config

ENTRY = {
    "addr": "a.example:25",
    "user": "u",
    "pass": "${env:SECRET}",
    "options": {"weight": 3},
    "replies": [{"match": "^452 .*quota", "class": "quota"}],
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECRET", "from the environment")
    return tmp_path / "config.yaml"


def test_what_is_handed_over_is_what_was_read(file: Path) -> None:
    downstreams: dict[str, str | Mapping[str, object]]
    downstreams = {"a": ENTRY, "b": {"provider": "sendgrid"}, "c": {"addr": "unix:./socket"}}
    users = [user_config(email=f"{name}@example.com", downstreams=downstreams) for name in "ab"]
    file.write_text(config_text(*users))
    loaded, here = load_aside(file), load(file)
    assert loaded.settings == here.settings
    assert (loaded.file, loaded.positions, loaded.packed) == (here.file, here.positions, here.packed)
    assert [watch.digest for watch in loaded.watches] == [watch.digest for watch in here.watches]
    assert not any(watch.changed() for watch in loaded.watches)
    one, two = loaded.settings.users
    first, second, third = one.downstreams
    assert first.password is not None
    assert first.password.reveal() == "from the environment"
    assert [rule.pattern.matches("452 4.2.2 over quota") for rule in first.rules] == [True]
    assert second.rules == here.settings.users[0].downstreams[1].rules != ()
    assert third.options is NO_OPTIONS
    with pytest.raises(TypeError):
        first.options["weight"] = 4  # type: ignore[index]
    assert one.algorithm is two.algorithm
    assert one.failover_on is two.failover_on


def test_its_problems_are_handed_over_and_what_is_usable(file: Path) -> None:
    broken = user_config(email="b@example.com", downstreams={"a": {"addr": "nowhere", "tls": "ssl"}})
    file.write_text(config_text(user_config(email="a@example.com", downstreams={"a": ENTRY}), broken))
    with pytest.raises(InvalidConfigError) as here:
        load(file)
    with pytest.raises(InvalidConfigError) as aside:
        load_aside(file)
    assert aside.value.problems == here.value.problems
    assert len(aside.value.problems) == 2
    assert str(aside.value) == str(here.value)
    assert aside.value.usable.settings == here.value.usable.settings
    assert aside.value.usable.positions == (0,)
    assert [watch.path for watch in aside.value.usable.watches] == [file]


def test_a_file_that_is_not_there_is_said_as_it_is_here(file: Path) -> None:
    with pytest.raises(ConfigError) as here:
        load(file)
    with pytest.raises(ConfigError) as aside:
        load_aside(file)
    assert aside.value.problems == here.value.problems


def test_what_another_version_has_read_is_not_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(config_text())
    other = file.with_name("other")
    code = "import pickle, sys; pickle.dump({}, sys.stdout.buffer)"
    other.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    other.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(other))
    with pytest.raises(ConfigError, match="another version of the router is installed: restart it"):
        load_aside(file)


def test_all_that_is_handed_over_has_a_part_in_its_shape() -> None:
    names = {name.rpartition(".")[2] for name in shape()}
    parts = {"Loaded", "Settings", "Listener", "User", "Downstream", "Auth", "ReplyRule", "Rule"}
    assert names >= parts | {"PluginUse", "Canary", "ProviderUse", "Limits", "PoolLimits", "HostPort"}
    assert shape()["smtp_router.config.pool.PoolLimits"][:2] == ("max_connections", "idle_s")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/bin/false", "cannot be read, the process that does has ended (see above)"),
        ("/none", "cannot be read, no process can be started: No such file or directory"),
    ],
)
def test_who_cannot_read_it_leaves_a_problem(
    program: str, expected: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(ConfigError) as error:
        load_aside(file)
    (problem,) = error.value.problems
    assert (problem.file, problem.message) == (str(file), expected)
