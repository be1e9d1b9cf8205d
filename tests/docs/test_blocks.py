"""Every fenced block is what it says it is; see `pages.py` for the markers."""

import json
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from smtp_router.config.explain import keys_of
from smtp_router.config.load import ALIASES, Loaded, load
from smtp_router.config.scenario import Scenario
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import build
from tests.docs.asking import MESSAGES, go_through
from tests.docs.asking import load as load_plugin
from tests.docs.commands import commands
from tests.docs.pages import Block, all_blocks, blocks
from tests.docs.test_configuration import MODELS

ALGORITHM = """\
from smtp_router import hookimpl


@hookimpl
def select_downstream(downstreams):
    return downstreams[0]
"""

COMMANDS = commands()
KNOWN_KEYS = {*ALIASES, *(key for model in MODELS for key in keys_of(model))}


def options_of(block: Block) -> Mapping[str, object]:
    options: Mapping[str, object] = json.loads(block.words[3]) if len(block.words) > 3 else {}
    return options


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", all_blocks("python", "plugin"), ids=str)
async def test_a_plugin_loads_and_never_fails(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin.py").write_text(block.text, "utf-8")
    plugin = load_plugin(tmp_path, "./plugin.py", options_of(block))
    for message in MESSAGES:
        await go_through(plugin, message, ("main", "bulk", "spare"))


@pytest.mark.parametrize("block", all_blocks("python", "run"), ids=str)
def test_a_script_runs(block: Block) -> None:
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})  # noqa: S102 - that is the test


@pytest.mark.parametrize("block", all_blocks("yaml", "config"), ids=str)
def test_a_configuration_is_valid_with_its_plugins(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = build(loaded(block, tmp_path, monkeypatch), Registry())
    assert epoch.routes


def loaded(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A block as a configuration in this folder, with all around it that it refers to."""
    for name in re.findall(r"\$\{env:(\w+)\}", block.text):
        monkeypatch.setenv(name, "secret")
    for name in re.findall(r"\$\{file:([^}]+)\}", block.text):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("secret\n", "utf-8")
    for name in re.findall(r"\./(\w+\.py)", block.text):
        (folder / name).write_text(plugin_of(block.page, name), "utf-8")
    (folder / "config.yaml").write_text(block.text, "utf-8")
    return load(folder / "config.yaml")


def plugin_of(page: Path, name: str) -> str:
    """The first block of the page with this file's name, or an algorithm that stands for it."""
    found = (block.text for block in blocks(page) if block.is_a("python", "plugin", name))
    return next(found, ALGORITHM)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_yaml_has_no_key_that_there_is_not(block: Block) -> None:
    fragment = yaml.safe_load(textwrap.dedent(block.text)) or {}
    assert isinstance(fragment, dict)
    assert fragment.keys() <= (
        Scenario.model_fields.keys() if block.is_a("yaml", "scenario") else KNOWN_KEYS
    )


@pytest.mark.parametrize("block", all_blocks("toml"), ids=str)
def test_toml_names_the_entry_point_group(block: Block) -> None:
    assert tomllib.loads(block.text)["project"]["entry-points"]["smtp_router"]


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", all_blocks("sh"), ids=str)
def test_shell_commands_can_be_parsed(block: Block) -> None:
    subprocess.run(["/bin/sh", "-n"], input=block.text.encode(), check=True)


@pytest.mark.parametrize("block", [*all_blocks("sh"), *all_blocks("ini")], ids=str)
def test_our_own_commands_and_options_exist(block: Block) -> None:
    for name, rest in re.findall(r"smtp-router ([a-z][\w-]*)([^\n|<>]*)", block.text):
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word for word in rest.split() if word.startswith("-")} <= known


def test_every_block_says_what_it_is() -> None:
    kinds = {"python", "yaml", "toml", "json", "sh", "ini", "text"}
    assert {block.words[0] if block.words else "" for block in all_blocks()} <= kinds
