"""`smtp-router simulate` as people use it."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from smtp_router.cli.commands import commands as main
from smtp_router.simulation import extra
from tests.support import config_text, user_config

OUTAGE = "downstreams: {a: {outages: [{from: 10s, to: 20s}], cost_per_1000: 3}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(config_text(algorithm="failover"))
    (tmp_path / "outage.yaml").write_text(OUTAGE)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    return tmp_path


def simulate(*arguments: str, messages: int | None = 1000) -> Result:
    many = () if messages is None else ("--messages", str(messages))
    result = CliRunner().invoke(main, ["simulate", *many, *arguments], prog_name="smtp-router")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.usefixtures("folder")
def test_without_a_scenario_all_is_well() -> None:
    result = simulate()
    assert result.exit_code == 0
    assert result.output.startswith("1,000 messages of user@example.com, seed 1")
    assert re.search(r"^delivered +1,000$", result.output, re.MULTILINE)
    assert not result.stderr


@pytest.mark.usefixtures("folder")
def test_algorithms_stand_side_by_side_with_what_they_did_about_the_outage() -> None:
    result = simulate("--scenario", "outage.yaml", "--compare", "weighted", "--rate", "50/s")
    assert re.search(r"^ +failover +weighted$", result.output, re.MULTILINE)
    (failover,) = re.findall(r"^failover +a +10 s +20 s +refused .*$", result.output, re.MULTILINE)
    assert re.search(r"100.0% +\d\.\d% +\d+\.\d%$", failover)
    assert re.search(r"^cost +[\d.]+ +[\d.]+$", result.output, re.MULTILINE)


@pytest.mark.usefixtures("folder")
def test_an_outage_that_no_mail_came_to_is_no_figure() -> None:
    result = simulate("--scenario", "outage.yaml", "--html", "a.html", messages=100)
    assert "failover: the last mail came before a was out, at 10 s" in result.output
    assert "never" not in result.output
    assert "never" not in Path("a.html").read_text()


def test_all_forms_of_a_report_are_written(folder: Path) -> None:
    written = ("--json", "a.json", "--html", "a.html", "--png", "a.png", "--log", "a.jsonl")
    result = simulate("--scenario", "outage.yaml", "--compare", "weighted", *written)
    assert result.exit_code == 0
    assert [run["algorithm"] for run in json.loads((folder / "a.json").read_text())["runs"]] == [
        "failover",
        "weighted",
    ]
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "a.html").read_text()
    assert "<svg" in page
    assert page.count("<h2>") == 3
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)  # nothing is asked for from anywhere
    log = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "message" for line in log) == 1000


def test_what_a_configuration_names_cannot_be_markup(folder: Path) -> None:
    name = "<script>alert(1)</script>"
    (folder / "config.yaml").write_text(
        config_text(algorithm="failover", downstreams={name: "a.example:25", "b": "b.example:25"})
    )
    assert simulate("--html", "a.html").exit_code == 0
    page = (folder / "a.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_log_that_was_written_can_be_replayed(folder: Path) -> None:
    simulate("--scenario", "outage.yaml", "--log", "a.jsonl")
    result = simulate("--traffic", "a.jsonl", "--json", "b.json", messages=None)
    assert result.output.startswith("1,000 messages")
    (run,) = json.loads((folder / "b.json").read_text())["runs"]
    assert run["messages"]["delivered"] == 1000


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--user", "nobody"], "no user nobody; there are: user@example.com"),
        (["--scenario", "none.yaml"], "none.yaml: cannot be read"),
        (["--compare", "wieghted"], "--compare wieghted: wieghted: is not installed"),
        (["--compare", "./none.py"], "--compare ./none.py: .*none.py: cannot be read"),
        (
            ["--compare", "{use: weighted, options: {mode: odd}}"],
            "--compare .*mode must be smooth or random",
        ),
        (["--traffic", "outage.yaml"], "outage.yaml:1: is no line of a log in JSON"),
        (["--traffic", "x", "--rate", "1/s"], "--traffic brings its own pace"),
        (["--rate", "fast"], "'fast' must be a number per s"),
        (["--json", "none/a.json"], "cannot write none/a.json: No such file"),
        (["-c", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_it_is(arguments: list[str], problem: str) -> None:
    result = simulate(*arguments, messages=10)
    assert result.exit_code == 2
    assert re.search(problem, result.stderr)


def test_of_several_users_one_has_to_be_named(folder: Path) -> None:
    users = [user_config(email=email, algorithm="failover") for email in ("a@a.example", "b@b.example")]
    (folder / "config.yaml").write_text(config_text(*users))
    result = simulate()
    assert result.exit_code == 2
    assert "--user, which of: a@a.example, b@b.example" in result.stderr
    assert "messages of b@b.example" in simulate("--user", "b@b.example").output


def test_what_a_picture_takes_is_said_where_it_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "NEEDED", ("no_such_package_anywhere",))
    result = simulate("--html", "a.html")
    assert result.exit_code == 2
    assert "pip install 'smtp-router[simulate]'" in result.stderr
    assert not (folder / "a.html").exists()
    assert simulate("--json", "a.json").exit_code == 0


@pytest.mark.usefixtures("folder")
def test_the_extra_is_imported_only_by_who_wants_a_picture() -> None:
    program = (
        "import sys; from smtp_router.cli import main\n"
        "main(['simulate', '--messages', '10'], standalone_mode=False)\n"
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'jinja2')))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own words


def test_a_failing_plugin_is_told_of_once_and_logging_is_as_before(folder: Path) -> None:
    (folder / "bad.py").write_text(
        "import logging\nfrom smtp_router import hookimpl\n\n@hookimpl\n"
        "def select_downstream(downstreams):\n"
        "    logging.getLogger('mine').warning('oh no')\n"
        "    raise KeyError('provider3')\n"
    )
    ours, root = logging.getLogger("smtp_router"), logging.getLogger()
    before = ours.level, ours.propagate, root.handlers
    result = simulate("--compare", "./bad.py")
    assert "./bad.py: 1,000 times plugin failed" in result.output
    assert "KeyError: 'provider3'" in result.output
    assert "./bad.py: 1,000 times oh no" in result.output
    assert not result.stderr
    assert (ours.level, ours.propagate, root.handlers) == before
