"""The tutorial can be followed: its files check, its package installs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from smtp_router.cli.commands import commands as program
from smtp_router.cli.demo import ALGORITHM_TEXT, LOGIN, PASSWORD
from tests.docs.asking import ask, load
from tests.docs.pages import DOCS, Block, blocks, text_of
from tests.support import make_message

PAGE = DOCS / "tutorial.md"
SMALL, BIG = make_message(content=b"x" * 1000), make_message(content=b"x" * 1001)


def block(*words: str, number: int = 0) -> Block:
    return [block for block in blocks(PAGE) if block.is_a(*words)][number]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader has put the files of the fifth step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APP_PASSWORD", "secret")
    (tmp_path / "big_mail.py").write_text(block("python", "plugin").text, "utf-8")
    (tmp_path / "config.yaml").write_text(block("yaml", "config").text, "utf-8")
    return tmp_path


def check() -> tuple[int, str]:
    result = CliRunner().invoke(program, ["check"])
    return result.exit_code, result.output


def shown_below(line: str) -> str:
    """The indented lines that begin with this one, without their indentation."""
    _, _, behind = text_of(PAGE).partition(f"\n    {line}\n")
    lines = [line]
    for following in behind.splitlines():
        if not following.startswith("    "):
            break
        lines.append(following[4:])
    return "\n".join(lines) + "\n"


def test_the_demo_has_the_algorithm_and_the_login_that_are_shown() -> None:
    shown = next(block.text for block in blocks(PAGE) if "turns = itertools.count()" in block.text)
    kept = [line for line in ALGORITHM_TEXT.splitlines() if line.strip() and "#" not in line]
    assert [line for line in shown.splitlines() if line] == kept[3:]
    assert f"-u {LOGIN}:{PASSWORD}" in text_of(PAGE)
    assert f'client.login("{LOGIN}", "{PASSWORD}")' in text_of(PAGE)


def test_check_prints_what_is_shown(folder: Path) -> None:
    code, output = check()
    assert code == 0, output
    assert output.replace(str(folder), "/path/to") == shown_below("config.yaml: valid")


@pytest.mark.parametrize("number", [0, 1])
async def test_both_versions_of_the_algorithm_go_by_size(folder: Path, number: int) -> None:
    (folder / "big_mail.py").write_text(block("python", "plugin", number=number).text, "utf-8")
    plugin = load(folder, "./big_mail.py", {"limit_bytes": 1000} if number else {})
    assert await ask(plugin, SMALL, ("small", "big")) == "small"
    assert await ask(plugin, BIG, ("small", "big")) == "big"
    assert await ask(plugin, BIG, ("small",)) == "small"


@pytest.mark.parametrize(
    ("algorithm", "problem"),
    [
        ("./big_mail.py", "users[0].algorithm.options.limit_bytes: ./big_mail.py: is missing"),
        ("{use: ./big_mail.py, options: {limit_bytes: 0}}", "limit_bytes must be more than 0"),
        ("{use: ./big_mail.py, options: {limt_bytes: 1000}}", "did you mean limit_bytes?"),
        ("{use: ./big_mail.py, options: {limit_bytes: 1000}}", ""),
    ],
)
def test_options_are_checked_as_is_told(folder: Path, algorithm: str, problem: str) -> None:
    (folder / "big_mail.py").write_text(block("python", "plugin", number=1).text, "utf-8")
    config = block("yaml", "config").text.replace("./big_mail.py", algorithm)
    (folder / "config.yaml").write_text(config, "utf-8")
    code, output = check()
    assert code == (2 if problem else 0)
    assert problem in output


def test_the_package_installs_and_can_be_named(tmp_path: Path) -> None:
    source, site = tmp_path / "smtp-router-big-mail", tmp_path / "site"
    source.mkdir()
    (source / "smtp_router_big_mail.py").write_text(block("python", "plugin", number=1).text, "utf-8")
    (source / "pyproject.toml").write_text(block("toml").text, "utf-8")
    run(
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
        *("--no-deps", "--no-build-isolation", "--target", str(site), str(source)),
        path=site,
    )
    (tmp_path / "config.yaml").write_text(
        block("yaml", "config").text.replace(
            "./big_mail.py", "{use: big_mail, options: {limit_bytes: 1000}}"
        ),
        "utf-8",
    )
    listed = run("-m", "smtp_router", "plugins", path=site)
    assert [line for line in listed.splitlines() if "big_mail" in line] == [
        shown_below("big_mail             smtp-router-big-mail 0.1.0  select_downstream").splitlines()[0]
    ]
    found = run("-m", "smtp_router", "check", "-c", str(tmp_path / "config.yaml"), path=site)
    assert "algorithm   big_mail  (smtp-router-big-mail 0.1.0: select_downstream)" in found


def run(*arguments: str, path: Path) -> str:
    environ = os.environ | {"PYTHONPATH": str(path), "APP_PASSWORD": "secret"}
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, *arguments], env=environ, capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
