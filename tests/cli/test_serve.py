"""`smtp-router serve` as it is run: its log, its exit codes, its secrets."""

import base64
import json
import re
import socket
from pathlib import Path

import pytest

from smtp_router.config.load import load
from smtp_router.config.settings import Settings
from tests.load import refuses
from tests.running import PASSWORD, USER, Program, Serve, config, downstream, one_user, user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: content-of-the-mail\r\n\r\nhello\r\n"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

TELLS_MODULES = """\
import sys
from pathlib import Path

from smtp_router import hookimpl


@hookimpl
def select_downstream(downstreams):
    Path(__file__).with_name("modules").write_text(" ".join(sys.modules))
    return downstreams[0]
"""


def test_each_listener_that_is_ready_is_a_line(tmp_path: Path) -> None:
    settings = one_user({"addr": "b.example:25"}, listen=2 * [{"addr": "127.0.0.1:0"}])
    with Serve(settings, tmp_path) as router:
        router.program.wait_line("listening on", after=1)
        lines = [line for line in router.program.lines if "listening on" in line]
        ports = {int(re.findall(r":(\d+)", line)[-1]) for line in lines}
        assert len(ports) == 2
        assert not any(refuses("127.0.0.1", port) for port in ports)


def test_nothing_listens_where_one_address_is_busy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        settings = one_user(
            {"addr": "b.example:25"},
            listen=[{"addr": "127.0.0.1:0"}, {"addr": f"127.0.0.1:{taken}"}],
        )
        (tmp_path / "config.yaml").write_text(json.dumps(settings))
        with Program("serve", cwd=tmp_path) as program:
            assert program.ended() == 2
    assert f"cannot listen on 127.0.0.1:{taken}: Address already in use" in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("addr", ["host.invalid:1025", "203.0.113.1:1025"])
def test_an_address_that_is_not_here_ends_with_2(addr: str, tmp_path: Path) -> None:
    settings = one_user({"addr": "b.example:25"}, listen=[{"addr": addr}])
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    with Program("serve", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert f"cannot listen on {addr}: " in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_configuration_does_not_need_is_not_imported(workers: int, tmp_path: Path) -> None:
    """Each of these takes a part of a start, and of each worker's memory. No reload needs them."""
    (tmp_path / "told.py").write_text(TELLS_MODULES)
    with Witness() as witness:
        settings = config(user(witness, algorithm="./told.py"), workers=workers)
        with Serve(settings, tmp_path) as router:
            router.configure(settings | {"idle_s": 60})
            router.program.wait_line("reloaded")
            with router.client() as client:
                assert client.transaction(A, [B], HELLO).code == 250
    imported = set((tmp_path / "modules").read_text().split())
    assert "smtp_router.service" in imported
    assert ("click" in imported) is (workers == 1)
    assert not imported & {
        "asn1crypto",
        "h11",
        "jinja2",
        "matplotlib",
        "oauthlib",
        "pydantic",
        "pydantic_core",
        "pytest",
        "scramp",
        "smtp_router.cli.demo",
        "smtp_router.cli.scaffold",
        "smtp_router.config.provider",
        "smtp_router.simulation",
        "smtp_router.testing",
        "yaml",
    }


# The log


def test_logins_that_strangers_give_up_do_not_fill_the_log(tmp_path: Path) -> None:
    with Serve(one_user({"addr": "b.example:25"}), tmp_path) as router, router.connect() as client:
        assert client.command(b"EHLO client.example").code == 250
        client.send(50 * b"AUTH PLAIN\r\n*\r\n")
        assert [client.reply().code for _ in range(100)] == 50 * [334, 501]
    assert len(router.log.entries) < 10


def test_a_json_log_has_one_entry_per_attempt_and_one_per_message(tmp_path: Path) -> None:
    with (
        Witness({"rcpt": b"450 4.2.1 busy"}) as a,
        Witness(name="b") as b,
        Serve(one_user(a, b), tmp_path) as router,
        router.client() as client,
    ):
        reply = client.transaction(A, [B, b"c@c.example"], HELLO)
        message = router.log.wait("message")
    number = reply.lines[0].decode().split()[-1]
    common = {"id": number, "user": USER, "mail_from": A.decode(), "recipients": 2, "bytes": len(HELLO)}
    first, second = router.log.find("attempt")
    told = {"downstream": "a", "stage": "rcpt", "outcome": "deferred", "code": 450, "level": "warning"}
    assert first.items() >= (common | told).items()
    told = {"downstream": "b", "stage": "final", "outcome": "delivered", "code": 250, "level": "info"}
    assert second.items() >= (common | told).items()
    told |= {"attempts": 2}
    assert message.items() >= (common | told).items()
    for entry in (first, second, message):
        assert re.fullmatch(TIME, entry["time"])
        assert 0 < entry["seconds"] < 10
        assert entry["logger"].startswith("smtp_router.")
    assert message["seconds"] >= first["seconds"] + second["seconds"] - 0.001


def test_a_text_log_is_one_line_per_entry_that_nothing_breaks(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps(one_user({"addr": "127.0.0.1:1"})))
    with Witness({"mail": "550 5.7.1 grüß \x1b[31m=x".encode()}) as a:
        (tmp_path / "config.yaml").write_text(json.dumps(one_user(a)))
        with Program("serve", "--log-format", "text", cwd=tmp_path) as program:
            port = int(program.wait_line(r"listening on 127\.0\.0\.1:(\d+)$")[1])
            router = Serve(one_user(a), tmp_path)
            router.port = port
            with router.client() as client:
                assert client.transaction(b'"a b=c"@a.example', [B], HELLO).code == 550
            program.wait_line(" message ")
    *_, attempt, message = [line for line in program.lines if re.search("attempt|message", line)]
    assert re.fullmatch(
        TIME
        + r' warning attempt id=[0-9a-f]{20} user=app@app\.example mail_from="\\"a b=c\\"@a\.example" '
        r"recipients=1 bytes=\d+ downstream=a stage=mail outcome=rejected code=550 seconds=[\d.]+ "
        r'reply="550 5\.7\.1 gr\?\? \?\[31m=x"',
        attempt,
    )
    assert re.fullmatch(TIME + r" info    message id=.* outcome=rejected code=550 seconds=.*", message)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_says_what_is_logged(level: str, tmp_path: Path) -> None:
    with Witness({"mail": b"450 4.2.1 busy"}) as a:
        (tmp_path / "config.yaml").write_text(json.dumps(one_user(a, listen=[{"addr": "127.0.0.1:0"}])))
        if level in {"debug", "info"}:
            with Serve(one_user(a), tmp_path, "--log-level", level) as router, router.client() as client:
                assert client.transaction(A, [B], HELLO).code == 450
                router.log.wait("message")
        else:
            with Program("serve", "--log-level", level, cwd=tmp_path) as program:
                program.wait_line("listening on")  # said at any level: others wait for it


# Secrets


SECRETS = [PASSWORD, "downstream-word", "wrong-word"]


def forms(secret: str, login: str) -> list[str]:
    plain = f"\0{login}\0{secret}".encode()
    return [secret, *(base64.b64encode(octets).decode() for octets in (secret.encode(), plain))]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_and_no_content_is_logged_at_any_level(tmp_path: Path, log_format: str) -> None:
    """Logins that succeed, fail and are garbled; downstreams that refuse the router's; reloads."""
    with (
        Witness(auth=("router", "downstream-word")) as a,
        Witness({"auth": b"535 5.7.8 wrong"}, auth=("router", "downstream-word")) as b,
        Witness({"ehlo": b"502 5.5.1 what?"}, auth=("router", "downstream-word")) as c,
    ):
        settings = config(
            user(downstream(c, name="c"), downstream(b, name="b"), downstream(a, name="a"))
        )
        with Serve(settings, tmp_path, "--log-level", "debug", "--log-format", log_format) as router:
            with router.connect() as client:
                assert client.command(b"EHLO client.example").code == 250
                assert client.login(USER, "wrong-word").code == 535
                assert client.command(b"AUTH LOGIN").code == 334
                assert client.command(base64.b64encode(USER.encode())).code == 334
                assert client.command(b"wrong-word").code == 501
                assert client.command(b"AUTH PLAIN wrong-word!").code == 501
                assert client.command(b"wrong-word").code == 500
                assert client.login(USER, PASSWORD).code == 235
                assert client.transaction(A, [B], HELLO).code == 250
            router.configure(settings | {"users": [{"password": "wrong-word", "email": USER}]})
            router.program.wait_line("not reloaded")
        assert len(a.deliveries) == 1
    output = router.program.output
    for secret in SECRETS:
        for login in (USER, "router"):
            for form in forms(secret, login):
                assert form not in output
    assert "content-of-the-mail" not in output


def test_no_secret_is_in_the_repr_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    entry = {"addr": "a.example:25", "user": "router", "pass": "downstream-word"}
    file.write_text(json.dumps(one_user(entry)))
    loaded = load(file)
    settings: Settings = loaded.settings
    for text in (repr(loaded), repr(settings), str(settings), repr(settings.users[0].downstreams)):
        assert PASSWORD not in text
        assert "downstream-word" not in text
    assert "***" in repr(settings)
