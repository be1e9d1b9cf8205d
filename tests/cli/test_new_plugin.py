"""`smtp-router new-plugin`: what it makes is right by every tool that its author will use.

That its tests pass, and that it installs, is shown by `tools/check_wheels.py`.
"""

import itertools
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from smtp_router.cli.commands import commands as main
from smtp_router.cli.plugin_parts import PARTS
from smtp_router.cli.scaffold import BadNameError, Name, requirement
from smtp_router.config.load import ALIASES
from smtp_router.hooks.plugin import HOOKS
from smtp_router.testing import make_plugin

COMBINATIONS = [
    hooks for count in range(1, len(HOOKS) + 1) for hooks in itertools.combinations(HOOKS, count)
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["new-plugin", *arguments], prog_name="smtp-router")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def with_hooks(name: str, hooks: Iterable[str]) -> Path:
    result = new(name, *(word for hook in hooks for word in ("--hook", hook)))
    assert result.exit_code == 0, result.output
    return Path(Name.parse(name).distribution)


def tool(*arguments: str) -> str:
    """What a tool has to say, or nothing when all is well."""
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", *arguments], capture_output=True, check=False, encoding="utf-8"
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


# Names


@pytest.mark.parametrize("given", ["by-size", "by_size", "smtp-router-by-size", "smtp_router_by_size"])
def test_a_name_is_spelt_in_four_ways(given: str) -> None:
    name = Name.parse(given)
    assert name.plugin == "by_size"
    assert name.distribution == "smtp-router-by-size"
    assert name.module == "smtp_router_by_size"
    assert name.class_name == "BySize"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "BySize",
        "2fa",
        "by.size",
        "by size",
        "by--size",
        "-x",
        "x-",
        "../x",
        "/x",
        "smtp-router-",
        "größe",
    ],
)
def test_what_is_no_name_is_refused(given: str) -> None:
    result = new("--", given)
    assert result.exit_code == 2
    assert "is no name" in result.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("a" * 31, "30 characters are the most"),
        ("on", "is no text in YAML"),
        ("null", "is no text in YAML"),
        ("message", "makes a class Message, which there is already"),
        ("sequence", "makes a class Sequence, which there is already"),
    ],
)
def test_a_name_that_would_not_do_is_refused(given: str, why: str) -> None:
    with pytest.raises(BadNameError, match=why):
        Name.parse(given)


def test_a_folder_that_is_there_stays_as_it_is() -> None:
    Path("smtp-router-by-size").mkdir()
    result = new("by-size")
    assert result.exit_code == 2
    assert result.stderr == "smtp-router-by-size exists already, and stays as it is.\n"
    assert list(Path("smtp-router-by-size").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told() -> None:
    Path("file").write_text("", "utf-8")
    assert new("by-size", "--into", "file").exit_code == 2


def test_a_name_that_is_taken_is_warned_of() -> None:
    result = new("weighted")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: weighted is taken here, by smtp-router-weighted ")
    assert new("by-size").stderr == ""


def test_it_says_what_to_do_next_where_it_was_made() -> None:
    Path("my plugins").mkdir()
    result = new("by-size", "--into", "my plugins")
    assert "\n  cd 'my plugins/smtp-router-by-size'\n" in result.stdout
    assert Path("my plugins/smtp-router-by-size/smtp_router_by_size/py.typed").is_file()


def test_without_the_extra_it_says_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = new("by-size")
    assert result.exit_code == 2
    assert (
        result.stderr
        == "new-plugin needs what is not installed; try: pip install 'smtp-router[testing]'\n"
    )
    assert list(Path().iterdir()) == []


# What is made


def test_every_hook_can_be_asked_for() -> None:
    assert list(PARTS) == list(HOOKS)


def test_an_algorithm_is_made_unless_it_is_said() -> None:
    assert new("by-size").exit_code == 0
    files = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert files == {
        f"smtp-router-by-size/{path}"
        for path in (
            ".github/workflows/test.yml",
            ".gitignore",
            "LICENSE",
            "README.md",
            "pyproject.toml",
            "smtp_router_by_size/__init__.py",
            "smtp_router_by_size/py.typed",
            "tests/test_by_size.py",
        )
    }
    module = Path("smtp-router-by-size/smtp_router_by_size/__init__.py")
    assert make_plugin(module).hooks == ("select_downstream",)


@pytest.mark.parametrize("hooks", COMBINATIONS, ids="-".join)
def test_a_plugin_has_the_hooks_that_were_asked_for(hooks: tuple[str, ...]) -> None:
    made = with_hooks("by-size", reversed(hooks))
    module = made / "smtp_router_by_size" / "__init__.py"
    assert make_plugin(module).hooks == hooks
    readme = (made / "README.md").read_text("utf-8")
    config = yaml.safe_load(readme.partition("```yaml\n")[2].partition("```")[0])
    (user,) = config["users"]
    use = user["algorithm"] if "select_downstream" in hooks else user["plugins"][0]
    options = {} if isinstance(use, str) else use["options"]
    assert "by_size" in (use if isinstance(use, str) else use["use"])
    assert make_plugin(module, options).hooks == hooks
    assert user.keys() <= {"email", "password", "algorithm", "plugins", "downstreams", *ALIASES}
    assert all(f"| `{name}` |" in readme for name in options)


def test_the_order_of_hooks_and_their_number_make_no_difference(folder: Path) -> None:
    for where, hooks in (("a", ("after_send", "close")), ("b", ("close", "after_send", "close"))):
        Path(where).mkdir()
        arguments = (word for hook in hooks for word in ("--hook", hook))
        assert new("by-size", "--into", where, *arguments).exit_code == 0
    first, second = (
        {
            path.relative_to(folder / where): path.read_text("utf-8")
            for path in (folder / where).rglob("*.*")
            if path.is_file()
        }
        for where in ("a", "b")
    )
    assert first == second
    assert first


def test_all_that_is_made_is_as_linters_formatters_and_type_checkers_want_it() -> None:
    made = [
        with_hooks(f"{'x' * length}-{number}", hooks)
        for number, hooks in enumerate(COMBINATIONS)
        for length in (1, 27)
    ]
    folders = list(map(str, made))
    each_for_itself = ("--config", 'src = ["smtp-router-*"]')
    assert tool("ruff", "check", "--isolated", *each_for_itself, *folders) == ""
    assert tool("ruff", "format", "--isolated", "--diff", *folders) == ""
    assert tool("mypy", "--strict", *folders) == ""


def test_the_metadata_are_complete() -> None:
    author = 'Jürgen "J" Öz\\'
    assert new("by-size", "--author", author).exit_code == 0
    folder = Path("smtp-router-by-size")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["authors"] == [{"name": author}]
    assert project["dependencies"] == ["smtp-router>=0.1,<1"]
    assert project["optional-dependencies"] == {"test": ["smtp-router[testing]"]}
    assert project["entry-points"] == {"smtp_router": {"by_size": "smtp_router_by_size:BySize"}}
    assert author in (folder / "LICENSE").read_text("utf-8")


def test_an_author_is_one_line() -> None:
    assert new("by-size", "--author", "a\nb").exit_code == 2


@pytest.mark.parametrize(
    ("router", "needs"), [("0.1.0", ">=0.1,<1"), ("0.12.3", ">=0.12,<1"), ("2.3.4rc1", ">=2.3,<3")]
)
def test_a_plugin_needs_the_router_it_is_written_for_up_to_the_next_major_version(
    router: str, needs: str
) -> None:
    assert requirement(router) == needs


def test_the_workflow_tests_all_versions_without_a_secret() -> None:
    new("by-size")
    text = Path("smtp-router-by-size/.github/workflows/test.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == "3.11"
    assert "secrets" not in text
    assert "${{ matrix.python }}\n" in text
