"""The commands that print something and end: check, plugins, schema, --version, and how they refuse."""

import json
import logging
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from smtp_router import cli
from smtp_router.cli.commands import commands as main
from tests.running import environment

ORIGINAL = """\
users:
  - email: "user@example.com"
    password: "password"
    selector_algo_path: "./round_robin.py"
    downstreams:
      - addr: "smtp.provider1.com:587"
        user: "apikey"
        pass: "secret"
      - addr: "smtp.provider2.com:587"
        user: "user"
        pass: "pass"
"""
ALGORITHM = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    return downstreams[0]
"""


def run(*arguments: str) -> Result:
    """Run the program in this process; nothing but an exit may come out of it."""
    result = CliRunner().invoke(main, arguments, prog_name="smtp-router")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets up the logging of its process, which here is that of the tests."""
    loggers = [logging.root, *map(logging.getLogger, ("mail", "asyncio"))]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers = handlers
        logger.setLevel(level)


def write(text: str | bytes, name: str = "config.yaml") -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# check


def test_help_lists_every_command_with_what_it_does() -> None:
    modules = Path(cli.__file__).parent.glob("*.py")
    source = {path.stem: path.read_text() for path in modules}
    commands = {name for name, text in source.items() if "@click.command(" in text}
    listed = dict(re.findall(r"^  ([a-z][a-z-]+) {2,}(\w.+)$", run("--help").output, re.MULTILINE))
    assert {name.replace("-", "_") for name in listed} == commands
    for name, words in listed.items():
        told = " ".join(run(name, "--help").output.split())
        assert words.removesuffix("...") in told


def test_a_command_is_imported_when_it_is_asked_for_and_no_other() -> None:
    code = """\
        import sys
        from smtp_router.cli import main
        main(["hash-password", "--help"], standalone_mode=False)
        own = {name.rpartition(".")[2] for name in sys.modules if name.startswith("smtp_router.cli.")}
        print(sorted(own), "pydantic" in sys.modules)
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())  # noqa: S603 - the interpreter and the words above
    assert result.stdout.splitlines()[-1] == "['commands', 'hash_password'] False"


def test_check_takes_the_original_short_form_as_it_is() -> None:
    write(ALGORITHM, "round_robin.py")
    write(ORIGINAL)
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "config.yaml: valid",
        "listens on 127.0.0.1:1025  (tls none)",
        "user user@example.com",
        f"  algorithm   ./round_robin.py  ({Path.cwd()}/round_robin.py: select_downstream)",
        "  downstream  smtp.provider1.com:587  (smtp.provider1.com:587, tls auto, login apikey)",
        "  downstream  smtp.provider2.com:587  (smtp.provider2.com:587, tls auto, login user)",
    ]


def test_check_prints_what_it_found() -> None:
    write("from smtp_router import hookimpl\n\n@hookimpl\ndef after_send(): ...\n", "tell.py")
    write(
        """\
listen: [{addr: "127.0.0.1:2525"}, {addr: "[::1]:2525"}]
users:
  - email: one
    password: "${env:HOME}"
    algorithm: round_robin
    plugins: [./tell.py]
    downstreams:
      - {addr: "a.example:465", name: a}
      - {addr: "b.example:25", name: b, tls: none, tls_verify: false}
      - provider: ses
        addr: "email-smtp.eu-west-1.amazonaws.com:2465"
        replies: [{match: x, class: quota}]
""",
        "other.yaml",
    )
    result = run("check", "-c", "other.yaml")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "listens on 127.0.0.1:2525  (tls none)" in lines
    assert "listens on [::1]:2525  (tls none)" in lines
    assert f"  plugin      ./tell.py  ({Path.cwd()}/tell.py: after_send)" in lines
    installed = f"smtp-router-round-robin {version('smtp-router-round-robin')}"
    assert f"  algorithm   round_robin  ({installed}: select_downstream)" in lines
    assert "  downstream  a  (a.example:465, tls implicit, no login)" in lines
    assert "  downstream  b  (b.example:25, tls none, certificate not verified, no login)" in lines
    ses = "email-smtp.eu-west-1.amazonaws.com:2465"
    assert f"  downstream  {ses}  ({ses}, tls implicit, no login, 6 reply rules)" in lines


def test_check_lists_every_problem_with_file_line_key_and_what_to_do() -> None:
    write("def :\n", "broken.py")
    write("import os\n", "hookless.py")
    write(
        """\
listen: [{addr: "127.0.0.1"}]
deadline: 10
users:
  - email: one
    password: word
    algorithm: not_there
    downstreams: [{addr: "a.example:25"}, {addr: "a.example:25"}]
  - email: one
    algorithm: ./broken.py
    downstreams: [{addr: "b.example:99999"}]
  - email: three
    password: "${env:NOT_SET_ANYWHERE}"
    algorithm: ./hookless.py
    downstreams: []
  - email: four
    password: word
    algorithm: ./missing.py
    downstreams: [{addr: "d.example:25"}]
  - email: five
    password: word
    algorithm: {use: round_robin, options: {weight: 1}}
    downstreams: [{addr: "d.example:25"}]
"""
    )
    result = run("check")
    assert result.exit_code == 2
    *problems, count = result.stderr.splitlines()
    assert count == f"{len(problems)} problems found."
    expected = [
        (1, "listen[0].addr", "HOST:PORT"),
        (2, "deadline", "did you mean deadline_s?"),
        (7, "users[0].downstreams[1].addr", "add another name"),
        (8, "users[1].email", "the same login"),
        (8, "users[1].password", "is missing"),
        (10, "users[1].downstreams[0].addr", "port"),
        (12, "users[2].password", "NOT_SET_ANYWHERE"),
        (14, "users[2].downstreams", "must not be empty"),
        (17, "users[3].algorithm", "missing.py"),
        (21, "users[4].algorithm.options.weight", "is not an option"),
    ]
    for line, key, what in expected:
        found = [text for text in problems if text.startswith(f"config.yaml:{line}: {key}: ")]
        assert found, (line, key, problems)
        assert what in found[0]


@pytest.mark.parametrize(
    ("algorithm", "what"),
    [
        ("not_there", "pip install smtp-router-not-there"),
        ("./missing.py", "No such file"),
        ("./broken.py", "broken.py:1"),
        ("./hookless.py", "no hook"),
        ("./raises.py", "raises.py:2"),
        ("./exits.py", "exits.py:1"),
        (".", "is"),
    ],
)
def test_check_says_what_is_wrong_with_an_algorithm(algorithm: str, what: str) -> None:
    write("def :\n", "broken.py")
    write("import os\n", "hookless.py")
    write("\nraise RuntimeError('x')\n", "raises.py")
    write("raise SystemExit(0)\n", "exits.py")
    write(ORIGINAL.replace("./round_robin.py", algorithm))
    for command in ("check", "serve"):
        result = run(command)
        assert result.exit_code == 2
        assert what in result.stderr
        assert "config.yaml:4: users[0].algorithm: " in result.stderr


@pytest.mark.parametrize("mode", [0o666, 0o646])
def test_a_plugin_that_others_may_write_is_refused_unless_allowed(mode: int) -> None:
    write(ALGORITHM, "round_robin.py").chmod(mode)
    write(ORIGINAL)
    result = run("check")
    assert result.exit_code == 2
    assert "chmod go-w" in result.stderr
    assert "allow_writable_plugins" in result.stderr
    write(ORIGINAL + "allow_writable_plugins: true\n")
    assert run("check").exit_code == 0


def test_a_configuration_that_others_may_write_is_warned_of() -> None:
    write(ALGORITHM, "round_robin.py")
    write(ORIGINAL).chmod(0o666)
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: other users may write config.yaml")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * [f'*{old}'])}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"users", id="a word"),
        pytest.param(b"- users\n", id="a list"),
        pytest.param(b"users: [", id="half"),
        pytest.param(b"users: []\n", id="no users"),
        pytest.param(b"users: 1\n", id="a number"),
        pytest.param(b"users: {email: x}\n", id="a mapping"),
        pytest.param(b"users: [1, null, [], {}]\n", id="no mappings"),
        pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
        pytest.param(b"users: \0", id="NUL"),
        pytest.param(b"a: 1\na: 2\n", id="a key twice"),
        pytest.param(b"? [1]\n: 2\n", id="a key that is a list"),
        pytest.param(b"!!python/object/apply:os.system ['true']\n", id="a tag"),
        pytest.param(b"users: &a [*a]\n", id="in itself"),
        pytest.param(BOMB.encode(), id="a bomb"),
        pytest.param(b"<<: &a {<<: *a}\n", id="merge keys"),
        pytest.param(1000 * b"[", id="deep"),
        pytest.param(11 * 2**20 * b"#", id="11 MiB"),
        pytest.param(b"---\na: 1\n---\nb: 2\n", id="two documents"),
        pytest.param(b"hostname: 1.5\ndrain_s: x\nidle_s: -1\nmax_recipients: true\n", id="types"),
    ],
)
def test_what_is_no_configuration_is_refused_without_a_traceback(text: bytes) -> None:
    write(text)
    for command in ("check", "serve"):
        result = run(command)
        assert result.exit_code == 2
        assert result.stderr.startswith("config.yaml")


def test_a_secret_is_in_no_problem() -> None:
    write(
        ORIGINAL.replace('"password"', '"${file:secret}"').replace(
            'pass: "secret"', "pass: [hunter2]\n        x: hunter3"
        )
    )
    result = run("check")
    assert result.exit_code == 2
    assert "hunter" not in result.output


@pytest.mark.parametrize("path", ["missing.yaml", ".", "missing/config.yaml", "\x01"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    for command in ("check", "serve"):
        result = run(command, "-c", path)
        assert result.exit_code == 2
        assert result.stderr.startswith(path)


# plugins, schema, version, usage


def test_plugins_lists_what_is_installed() -> None:
    result = run("plugins")
    assert result.exit_code == 0
    for name in ("failover", "round_robin", "sticky", "weighted"):
        distribution = f"smtp-router-{name.replace('_', '-')}"
        line = rf"{name} +{distribution} {re.escape(version(distribution))}  select_downstream"
        assert re.search(rf"(?m)^{line}\b", result.stdout)


def test_plugins_as_json() -> None:
    listed = {entry["name"]: entry for entry in json.loads(run("plugins", "--json").stdout)}
    assert listed["round_robin"] == {
        "name": "round_robin",
        "distribution": "smtp-router-round-robin",
        "version": version("smtp-router-round-robin"),
        "hooks": ["select_downstream"],
        "summary": metadata("smtp-router-round-robin")["Summary"],
        "homepage": "",
    }
    assert "failover" in listed


def test_plugins_says_what_each_is_and_where_there_is_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = folder / "smtp_router_first-1.0.dist-info"
    info.mkdir()
    write(
        "Metadata-Version: 2.1\nName: smtp-router-first\nVersion: 1.0\n"
        "Summary: The first one.\nProject-URL: Homepage, https://first.example/\n",
        str(info / "METADATA"),
    )
    write("[smtp_router]\nfirst = first_of_all\n", str(info / "entry_points.txt"))
    write(ALGORITHM, "first_of_all.py")
    monkeypatch.syspath_prepend(folder)
    assert (
        "first                smtp-router-first 1.0  select_downstream\n"
        "                     The first one.\n"
        "                     https://first.example/\n"
    ) in run("plugins").stdout
    listed = {entry["name"]: entry for entry in json.loads(run("plugins", "--json").stdout)}
    assert listed["first"] == {
        "name": "first",
        "distribution": "smtp-router-first",
        "version": "1.0",
        "hooks": ["select_downstream"],
        "summary": "The first one.",
        "homepage": "https://first.example/",
    }


def schemas(node: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """All schemas in a schema, itself included."""
    if not isinstance(node, dict):
        return []
    parts = [*node.get("properties", {}).values(), *node.get("$defs", {}).values()]
    parts += [*node.get("anyOf", []), *node.get("allOf", []), *node.get("prefixItems", [])]
    parts += [node[key] for key in ("items", "additionalProperties") if key in node]
    return [node, *(inner for part in parts for inner in schemas(part))]


def test_the_schema_is_one_that_editors_understand() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["required"] == ["users"]
    types = {"object", "array", "string", "number", "integer", "boolean", "null"}
    for part in schemas(schema):
        assert part.get("type", "object") in types
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part.get("required", [])) <= part["properties"].keys()
        if "pattern" in part:
            re.compile(part["pattern"])
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/$defs/") in schema["$defs"]
    user = schema["$defs"]["User"]["properties"]
    assert {"email", "password", "algorithm", "selector_algo_path", "downstreams"} <= user.keys()
    assert {"addr", "user", "pass", "name"} <= schema["$defs"]["Downstream"]["properties"].keys()
    assert all("description" in field for field in user.values())


def test_the_version() -> None:
    assert run("--version").stdout == f"smtp-router {version('smtp-router')}\n"


def test_python_m_is_the_same_program() -> None:
    script = Path(sys.executable).with_name("smtp-router")
    ways = [[sys.executable, "-m", "smtp_router"]]
    if script.exists():  # where it is installed, as in `make test`
        ways.append([str(script)])
    for way in ways:
        for option, expected in (
            ("--version", f"smtp-router {version('smtp-router')}"),
            ("-h", "Usage: smtp-router "),
        ):
            done = subprocess.run(  # noqa: S603 - our own program
                [*way, option], capture_output=True, text=True, timeout=30, check=True, env=environment()
            )
            assert done.stdout.startswith(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["serve", "--nonsense"],
        ["serve", "extra"],
        ["serve", "--log-format", "xml"],
        ["serve", "--log-level", "loud"],
        ["check", "-c"],
        ["plugins", "extra"],
        ["demo", "extra"],
        ["schema", "extra"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", ["serve", "check", "plugins", "demo", "schema"])
def test_every_command_explains_itself(command: str) -> None:
    assert command in run("--help").stdout
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: smtp-router {command} ")
