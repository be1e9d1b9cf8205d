"""explain, trace and status: asked before mail flows, and of a router that is running."""

import json
import smtplib
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from smtp_router.cli.commands import commands as main
from smtp_router.control.client import NoAnswerError, ask
from smtp_router.testing import Answer, ScriptedDownstream
from tests.running import PASSWORD, USER, Router, config, user

ALGORITHM = """\
from smtp_router import Reject, hookimpl, note

@hookimpl
def select_downstream(message, downstreams):
    note(f"from {message.mail_from}, X is {message.headers.get('X')}, {message.received_at:%H:%M}")
    if message.headers.get("X") == "never":
        raise Reject("not like this")
    return downstreams[-1]

@hookimpl
def after_send(message):
    note("told")
"""


def run(*arguments: str, text: bytes = b"") -> Result:
    result = CliRunner().invoke(main, arguments, input=text, prog_name="smtp-router")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def told(*arguments: str, text: bytes = b"") -> Any:  # noqa: ANN401 - JSON
    return json.loads(run(*arguments, "--json", text=text).stdout)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "algorithm.py").write_text(ALGORITHM)
    return tmp_path


def configure(folder: Path, **more: object) -> None:
    """Two downstreams, a and b, which nobody listens at."""
    downstreams = [{"name": name, "addr": f"127.0.0.1:{port}"} for name, port in (("a", 1), ("b", 2))]
    settings = config(user(*downstreams, algorithm="./algorithm.py"), **more)
    (folder / "config.yaml").write_text(json.dumps(settings))


# explain


def test_it_says_in_which_order_failures_would_have_them_tried(folder: Path) -> None:
    configure(folder)
    found = told("explain")
    assert found["order"] == ["b", "a"]
    assert found["live"] is False
    assert [one["offered"] for one in found["rounds"]] == [["a", "b"], ["a"]]
    assert found["rounds"][1]["left_out"] == [{"downstream": "b", "why": "tried already"}]
    assert found["reply"].startswith("451 4.4.1")
    lines = run("explain").stdout.splitlines()
    assert lines[0] == "b → a"
    assert "    not b: tried already" in lines


def test_what_is_said_of_the_message_is_what_the_plugins_see(folder: Path) -> None:
    configure(folder)
    options = ["--from", "x@x.example", "--to", "y@y.example", "--to", "z@z.example", "--header", "X: 1"]
    found = told("explain", *options, "--at", "2026-11-23T09:08:00")
    (note,) = found["rounds"][0]["plugins"][0]["notes"]
    assert note == "from x@x.example, X is 1, 09:08"
    assert found["rcpt_tos"] == ["y@y.example", "z@z.example"]
    assert told("explain", "--from", "")["mail_from"] == ""


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_files_header_is_the_envelope_where_nothing_else_is_said(folder: Path, end: bytes) -> None:
    configure(folder)
    lines = [
        b"From: A <a@a.example>",
        b"To: b@b.example",
        b"Cc: C <c@c.example>",
        b"X: 7",
        b"",
        b"hello",
    ]
    (folder / "message.eml").write_bytes(end.join(lines) + end)
    found = told("explain", "message.eml")
    assert (found["mail_from"], found["rcpt_tos"]) == ("a@a.example", ["b@b.example", "c@c.example"])
    assert "X is 7" in found["rounds"][0]["plugins"][0]["notes"][0]
    assert found["bytes"] == len(b"\r\n".join(lines)) + 2
    assert told("explain", "-", text=end.join(lines))["mail_from"] == "a@a.example"


def test_a_plugin_that_refuses_is_the_end_of_it(folder: Path) -> None:
    configure(folder)
    result = run("explain", "--header", "X: never")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "nobody"
    assert "Reject: 550 5.7.1 not like this" in result.stdout


def test_no_plugin_is_told_of_attempts_that_never_were(folder: Path) -> None:
    configure(folder)
    assert "after_send" not in run("explain").stdout


def test_what_stands_in_a_message_does_not_control_the_terminal(folder: Path) -> None:
    configure(folder)
    shown = run("explain", "-", text=b"From: a@a.example\nTo: b@b.example\nX: \x1b[2Jgone\n\n").stdout
    assert "X is ?[2Jgone" in shown
    assert "\x1b" not in shown


def test_the_canary_chooses_when_it_is_asked_to(folder: Path) -> None:
    first = ALGORITHM.replace("downstreams[-1]", "downstreams[0]")
    (folder / "first.py").write_text(first)
    downstreams = [{"name": name, "addr": f"127.0.0.1:{port}"} for name, port in (("a", 1), ("b", 2))]
    canary = {"use": "./first.py", "percent": 100}
    settings = config(user(*downstreams, algorithm="./algorithm.py", canary=canary))
    (folder / "config.yaml").write_text(json.dumps(settings))
    assert told("explain")["order"] == ["b", "a"]
    assert told("explain", "--canary")["order"] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--user", "nobody"], "there is no user nobody; --user is one of: app@app.example"),
        (["--from", "no address"], "'no address' is no address"),
        (["--to", ""], "'' is no address"),
        (["--header", "no colon"], "'no colon': it has no colon"),
        (["--header", "bad name: x"], "'bad name: x': "),
        (["nowhere.eml"], "No such file"),
    ],
)
def test_what_makes_no_message_is_told(folder: Path, arguments: list[str], problem: str) -> None:
    configure(folder)
    result = run("explain", *arguments)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


def test_a_file_without_a_sender_says_what_to_add(folder: Path) -> None:
    configure(folder)
    result = run("explain", "-", text=b"Subject: x\n\nx\n")
    assert "the message has no From field: add --from" in result.stderr


def test_of_several_users_one_has_to_be_named(folder: Path) -> None:
    configure(folder)
    settings = json.loads((folder / "config.yaml").read_text())
    settings["users"].append(settings["users"][0] | {"email": "second"})
    (folder / "config.yaml").write_text(json.dumps(settings))
    assert "there are several users" in run("explain").stderr
    assert told("explain", "--user", "second")["user"] == "second"


def test_a_configuration_that_is_none_is_told_as_by_check(folder: Path) -> None:
    configure(folder)
    (folder / "algorithm.py").write_text("nonsense(")
    result = run("explain")
    assert result.exit_code == 2
    assert "users[0].algorithm" in result.stderr


# Of a router that is running.


@pytest.fixture
def down() -> Iterator[ScriptedDownstream]:
    with ScriptedDownstream({"rcpt": [Answer(550, "5.1.1 nobody")]}) as downstream:
        yield downstream


@pytest.fixture
def router(folder: Path, down: ScriptedDownstream) -> Iterator[Router]:
    """One whose downstream b cannot be reached, and a refuses all."""
    downstreams = [{"name": "a", "addr": down.addr}, {"name": "b", "addr": "127.0.0.1:1"}]
    settings = config(
        user(*downstreams, algorithm="./algorithm.py"), health={"rest_s": 600, "max_rest_s": 600}
    )
    with Router(settings, folder) as found:
        yield found


def send(router: Router, messages: int = 1) -> None:
    for _ in range(messages):
        with smtplib.SMTP("127.0.0.1", router.port) as client:
            client.login(USER, PASSWORD)
            with pytest.raises(smtplib.SMTPResponseException):
                client.sendmail("a@a.example", ["b@b.example"], b"Subject: x\r\n\r\nx\r\n")


def test_a_message_can_be_asked_for_by_its_id(router: Router) -> None:
    send(router)
    (found,) = told("trace")
    assert [one["attempt"]["downstream"] for one in found["rounds"]] == ["b", "a"]
    assert found["rounds"][1]["attempt"]["reply"] == "550 5.1.1 <b@b.example>: nobody"
    assert told("trace", found["id"]) == told("trace", found["id"][:8]) == [found]
    readable = run("trace", found["id"]).stdout
    assert f"message {found['id']} of {USER}" in readable
    assert "→ a: rejected at rcpt" in readable
    assert "after_send: told" in readable
    assert "b → a" in run("trace").stdout


def test_an_id_that_is_not_there_is_told(router: Router) -> None:
    assert router.port
    result = run("trace", "0")
    assert (result.exit_code, result.stderr) == (1, "no such message is among the last 1,000\n")


def test_how_it_fares_is_told_and_counts_for_explain(router: Router) -> None:
    send(router, 5)
    found = told("status")
    assert found["ready"] is True
    one = found["users"][USER]["downstreams"]["b"]
    assert one["left_out"].startswith("rests, for ")
    assert one["health"]["state"] == "open"
    assert "b  (127.0.0.1:1)  rests, for" in run("status", "--user", USER).stdout
    assert told("status", "--user", "nobody")["users"] == {}
    explained = told("explain")
    assert explained["live"] is True
    assert explained["order"] == ["a", "b"]
    assert explained["rounds"][0]["left_out"][0]["why"].startswith("rests, for ")


def test_nobody_else_may_ask(router: Router, folder: Path) -> None:
    assert router.port
    assert stat.S_IMODE((folder / "smtp-router.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"{}\n", "nothing is known of this; ask for trace, status"),
        (b"nonsense\n", "a question is a line with a JSON object"),
        (b"[]\n", "a question is a line with a JSON object"),
    ],
)
def test_a_question_that_is_none_is_answered(
    router: Router, folder: Path, octets: bytes, answer: str
) -> None:
    assert router.port
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(folder / "smtp-router.sock"))
        asking.sendall(octets)
        assert json.loads(asking.makefile("rb").readline()) == {"error": answer}
    assert told("status")["ready"]


def test_a_line_without_end_is_cut_off(router: Router, folder: Path) -> None:
    assert router.port
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(folder / "smtp-router.sock"))
        try:
            asking.sendall(b"x" * 1_000_000)
            assert asking.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert told("status")["ready"]


# Without one.


@pytest.mark.parametrize("command", ["trace", "status"])
def test_without_a_router_that_is_said(folder: Path, command: str) -> None:
    configure(folder)
    result = run(command)
    assert result.exit_code == 2
    assert "no router is running with this configuration" in result.stderr
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "smtp-router.sock"))
    assert "no router is running with this configuration" in run(command).stderr
    configure(folder, control=None)
    assert "the configuration says control: null" in run(command).stderr


def test_a_socket_that_hangs_up_is_told(folder: Path) -> None:
    path = folder / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def hang_up() -> None:
            connection, _ = other.accept()
            connection.close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with pytest.raises(NoAnswerError, match=r"it hung up|does not answer"):
            ask(path, "status")
        hanging_up.join()


def test_without_a_place_for_the_socket_mail_goes_on(folder: Path, down: ScriptedDownstream) -> None:
    (folder / "taken").mkdir()
    settings = config(user({"name": "a", "addr": down.addr}), control="taken")
    with Router(settings, folder) as router:
        router.log.wait("nobody can ask this router")
        send(router)


def test_a_router_takes_its_socket_with_it(folder: Path, down: ScriptedDownstream) -> None:
    settings = config(user({"name": "a", "addr": down.addr}))
    with Router(settings, folder):
        assert (folder / "smtp-router.sock").is_socket()
    assert not (folder / "smtp-router.sock").exists()
