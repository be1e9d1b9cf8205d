"""Several workers as `smtp-router serve` runs them: real processes, killed, reloaded and drained."""

import json
import os
import re
import selectors
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtp_router.control.client import NoAnswerError, ask
from smtp_router.testing import ScriptedDownstream
from tests.rawclient import RawClient
from tests.running import Config, Program, Serve, config, one_user, user
from tests.script import HANG, NORMAL
from tests.underload import evenly, load
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
CLIENTS = 20
"""So many are with one worker alone once in half a million times."""


def crew(configuration: Config, workers: int | str = 2) -> Config:
    return configuration | {"workers": workers}


def status(router: Serve) -> dict[str, Any]:
    found = ask(router.file.with_name("smtp-router.sock"), "status")
    assert isinstance(found, dict)
    return found


def pids(router: Serve) -> list[int]:
    return [one["pid"] for one in status(router)["workers"]]


@contextmanager
def clients(router: Serve, count: int = CLIENTS) -> Iterator[list[RawClient]]:
    with ExitStack() as stack:
        yield [stack.enter_context(router.client()) for _ in range(count)]


def send_all(some: Sequence[RawClient]) -> None:
    """Have all send at once, up to the final dot."""
    for client in some:
        assert client.envelope(A, [B]).code == 250
    for client in some:
        client.wire(HELLO + b".\r\n")


def answers(some: Sequence[RawClient], count: int) -> list[RawClient]:
    """The clients of the first so many answers."""
    heard: list[RawClient] = []
    with selectors.DefaultSelector() as selector:
        for client in some:
            selector.register(client.sock, selectors.EVENT_READ, client)
        while len(heard) < count:
            ready = selector.select(10)
            assert ready, f"{len(heard)} of {count} answers"
            for key, _ in ready:
                selector.unregister(key.fileobj)
                heard.append(key.data)
    return heard


def test_a_worker_that_is_killed_loses_nothing_and_is_started_again(tmp_path: Path) -> None:
    with ScriptedDownstream(name="a") as a, ScriptedDownstream(name="b") as b:
        with Serve(crew(evenly(a, b)), tmp_path) as router:
            with load(router, a, b, clients=CLIENTS, forgives=True) as under:
                os.kill(pids(router)[1], signal.SIGKILL)
                ended = router.log.wait("worker has ended", worker=1, status="signal 9")
                assert ended["again_in_s"] == 0
                router.log.wait("worker has begun", worker=1)
                under.flows()
                os.kill(pids(router)[1], signal.SIGKILL)
                router.log.wait("worker has ended", worker=1, again_in_s=0.5)
                router.log.wait("worker has begun", worker=1, times=2)
                under.flows()
            assert under.crowd.lost_sessions < 2 * CLIENTS
            router.signal(signal.SIGTERM)
            assert router.ended() == 0
        under.check(router)
    assert sum("listening on" in line for line in router.program.lines) == 1


def test_limits_are_those_of_one_process(tmp_path: Path) -> None:
    """Of many that send at once, so many get through as the limit says; the killed hold nothing."""
    with Witness({"final": [HANG, HANG, HANG, NORMAL]}) as w:
        settings = crew(one_user({"addr": w.addr, "limits": {"concurrency": 3}}))
        with Serve(settings, tmp_path) as router:
            with clients(router) as some:
                send_all(some)
                for client in answers(some, CLIENTS - 3):
                    reply = client.reply()
                    assert (reply.code, reply.enhanced) == (451, "4.7.1")
                w.wait_for(lambda: len(w.hanging) == 3)  # refusals may be quicker
                for pid in pids(router):
                    os.kill(pid, signal.SIGKILL)
            router.log.wait("worker has begun", times=2)
            with router.client() as client:
                assert client.transaction(A, [B], HELLO).code == 250


def test_windows_and_rates_are_those_of_one_process(tmp_path: Path) -> None:
    with Witness() as w:
        its = user({"addr": w.addr, "limits": {"per_hour": 5}}, max_connections=CLIENTS, rate="30/h")
        with Serve(crew(config(its)), tmp_path) as router, clients(router) as some:
            send_all(some)
            codes = [client.reply().code for client in some]
            assert codes.count(250) == 5
            assert codes.count(451) == CLIENTS - 5
            codes = [client.command(b"MAIL FROM:<a@a.example>").code for client in some]
            assert codes.count(250) == 30 - CLIENTS
            with router.connect() as one_more:
                assert one_more.command(b"EHLO client.example").code == 250
                assert one_more.login("app@app.example", "open sesame").code == 421


def test_who_guesses_at_one_worker_is_locked_out_of_all(tmp_path: Path) -> None:
    with Serve(crew(one_user({"addr": "b.example:25"}, auth_failures=1)), tmp_path) as router:
        codes = []
        for _ in range(6):
            with router.connect() as client:
                client.command(b"EHLO client.example")
                codes.append(client.login("app@app.example", "wrong").code)
    assert codes == [535, 535, 421, 421, 421, 421]


def test_what_one_has_found_down_is_rested_by_all(tmp_path: Path) -> None:
    with socket.socket() as nobody, Witness(name="b") as b:
        nobody.bind(("127.0.0.1", 0))
        down = {"addr": f"127.0.0.1:{nobody.getsockname()[1]}", "name": "down"}
        settings = crew(one_user(down, b, health={"failures": 1, "rest_s": 300}))
        with Serve(settings, tmp_path) as router, clients(router) as some:
            assert some[0].transaction(A, [B], HELLO).code == 250
            router.log.wait("downstream rests")
            seen: dict[str, Any] = {}
            while not seen.get("left_out"):  # that of one worker is shown as long as it offers it
                seen = status(router)["users"]["app@app.example"]["downstreams"]["down"]
            assert [client.transaction(A, [B], HELLO).code for client in some] == CLIENTS * [250]
            router.log.wait("message", times=CLIENTS + 1)
        assert len(router.log.find("attempt", downstream="down")) == 1
        assert len(router.log.find("downstream rests")) == 1


def test_a_reload_is_for_all_or_for_none(tmp_path: Path) -> None:
    with Witness(name="a") as a, Witness(name="b") as b:
        with Serve(crew(one_user(a)), tmp_path) as router, clients(router) as some:
            router.write(b"users: [")
            router.signal(signal.SIGHUP)
            router.log.wait("not reloaded, the old configuration stays")
            assert all(client.transaction(A, [B], HELLO).code == 250 for client in some)
            router.configure(crew(one_user(b)))
            router.signal(signal.SIGHUP)
            assert router.log.wait("reloaded")["epoch"] == 2
            assert all(client.transaction(A, [B], HELLO).code == 250 for client in some)
            assert status(router)["epoch"] == 2
        assert (len(a.deliveries), len(b.deliveries)) == (CLIENTS, CLIENTS)
        assert len(router.log.find("not reloaded, the old configuration stays")) == 1
        assert len(router.log.find("reloaded")) == 1


CHOOSES = """
from smtp_router import Defer, hookimpl

{more}

@hookimpl
def select_downstream(downstreams):
    return downstreams[{position}]
"""
ONLY_ONE = """
import os
os.close(os.open({file!r}, os.O_CREAT | os.O_EXCL))
"""


def test_a_plugin_that_one_refuses_is_taken_up_by_none(tmp_path: Path) -> None:
    file = tmp_path / "chooses.py"
    file.write_text(CHOOSES.format(more="", position=0))
    with Witness(name="a") as a, Witness(name="b") as b:
        settings = crew(config(user(a, b, algorithm="./chooses.py")))
        with Serve(settings, tmp_path) as router, clients(router) as some:
            more = ONLY_ONE.format(file=str(tmp_path / "once"))
            file.write_text(CHOOSES.format(more=more, position=1))
            assert all(client.transaction(A, [B], HELLO).code == 250 for client in some)
            router.log.wait("not reloaded, the old configuration stays")
            assert (len(a.deliveries), len(b.deliveries)) == (CLIENTS, 0)
            file.write_text(CHOOSES.format(more="", position=1))
            assert all(client.transaction(A, [B], HELLO).code == 250 for client in some)
            assert (len(a.deliveries), len(b.deliveries)) == (CLIENTS, CLIENTS)


def test_all_drain_and_a_second_signal_cuts_off(tmp_path: Path) -> None:
    with Witness({"final": [HANG, NORMAL]}) as w:
        with Serve(crew(one_user(w, drain_s=20)), tmp_path) as router, clients(router, 2) as some:
            send_all(some)
            (answered,) = answers(some, 1)
            assert answered.reply().code == 250
            router.signal(signal.SIGTERM)
            router.program.wait_line("draining")
            assert answered.reply().code == 421
            router.signal(signal.SIGTERM)
            assert router.ended() == 0
        assert len(router.log.find("draining")) == 1
        assert len(router.log.find("stopped")) == 1


def test_workers_end_when_their_parent_is_gone(tmp_path: Path) -> None:
    with Witness() as w, Serve(crew(one_user(w)), tmp_path) as router, clients(router, 4) as some:
        router.signal(signal.SIGKILL)
        assert router.ended() == -signal.SIGKILL  # and nobody has its output open any more
        assert all(client.reply().code == 421 for client in some)
        with pytest.raises(ConnectionRefusedError):
            router.connect()


def test_questions_are_answered_for_all(tmp_path: Path) -> None:
    with Witness() as w, Serve(crew(one_user(w)), tmp_path) as router, clients(router) as some:
        ids = [client.transaction(A, [B], HELLO).lines[0].decode().split()[-1] for client in some]
        for id_ in ids:
            found = ask(tmp_path / "smtp-router.sock", "trace", id=id_)
            assert isinstance(found, list)
            assert [one["id"] for one in found] == [id_]
        (one,) = status(router)["users"]["app@app.example"]["downstreams"].values()
        assert one["health"]["delivered"] == CLIENTS
        with Program("status", cwd=tmp_path) as program:
            program.wait_line(r"worker 1  \(pid \d+\)  ready")
            assert program.ended() == 0


def test_a_unix_socket_is_shared_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    listen = [{"addr": "127.0.0.1:0"}, {"addr": f"unix:{path}"}]
    with Witness() as w, Serve(crew(one_user(w, listen=listen)), tmp_path) as router:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(100).startswith(b"220 ")
        router.signal(signal.SIGTERM)
        assert router.ended() == 0
    assert not path.exists()


def test_what_no_worker_can_use_ends_the_start_with_2(tmp_path: Path) -> None:
    settings = crew(config(user({"addr": "b.example:25"}, algorithm="./none.py")))
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    with Program("serve", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert len(re.findall(r"users\[0\]\.algorithm: \./none\.py: cannot be read", program.output)) == 1
    assert "1 problem found." in program.output


def test_a_port_that_is_taken_ends_the_start_with_2(tmp_path: Path) -> None:
    with Serve(crew(one_user({"addr": "b.example:25"})), tmp_path) as router:
        listen = [{"addr": f"127.0.0.1:{router.port}"}]
        settings = crew(one_user({"addr": "b.example:25"}, listen=listen, control=None))
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.yaml").write_text(json.dumps(settings))
        with Program("serve", cwd=tmp_path / "other") as program:
            assert program.ended() == 2
    assert f"cannot listen on 127.0.0.1:{router.port}: Address already in use" in program.output


def test_a_worker_that_cannot_divide_its_connections_says_so(tmp_path: Path) -> None:
    settings = crew(one_user({"addr": "b.example:25", "pool": {"max_connections": 2}}), 3)
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    with Program("serve", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert "max_connections: 2 is less than the 3 workers" in program.output
    with pytest.raises(NoAnswerError):
        ask(tmp_path / "smtp-router.sock", "status")
