"""What systemd is told: whether the router is ready, reloads or stops, and that its loop has turns."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtp_router.cli.systemd import PINGS, Notifier
from tests.e2e.test_faults import HELLO, A, B
from tests.running import WAIT_S, Serve, config, one_user, user
from tests.witness import Witness

READY = ["READY=1", "STATUS=Ready"]
PING = ["WATCHDOG=1"]
WATCHDOG_S = 0.3


class Systemd:
    """The socket that systemd listens on."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self.env = {"NOTIFY_SOCKET": path.replace("\0", "@")}

    def hear(self, seconds: float = WAIT_S) -> list[str]:
        """The lines of the next message."""
        self._socket.settimeout(seconds)
        return self._socket.recv(4096).decode().splitlines()

    def hear_but_pings(self) -> list[str]:
        """... of the next that is more than a sign of life."""
        return next(said for said in iter(self.hear, []) if said != PING)

    def hears_nothing(self, seconds: float) -> bool:
        try:
            self.hear(seconds)
        except TimeoutError:
            return True
        return False

    def drop_what_has_come(self) -> None:
        self._socket.setblocking(False)  # noqa: FBT003 - not ours to name
        try:
            for _ in range(1000):
                self._socket.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told_when_the_router_is_ready_reloads_and_stops(
    tmp_path: Path, systemd: Systemd, workers: int
) -> None:
    settings = one_user({"addr": "b.example:25"}, workers=workers)
    with Serve(settings, tmp_path, env=systemd.env) as router:
        assert systemd.hear() == READY
        with router.connect():  # it does listen
            pass
        router.signal(signal.SIGHUP)
        reloading, since = systemd.hear()
        assert reloading == "RELOADING=1"
        assert since.startswith("MONOTONIC_USEC=")
        assert systemd.hear() == READY
        router.write(b"broken: [")
        router.signal(signal.SIGHUP)
        assert systemd.hear()[0] == "RELOADING=1"
        assert systemd.hear() == READY
        router.signal(signal.SIGTERM)
        assert systemd.hear() == ["STOPPING=1", "STATUS=Draining"]
        assert router.ended() == 0
    assert systemd.hears_nothing(0.01)  # no watchdog was asked for


HOLDS = """
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    open({gate!r}).close()  # until somebody opens its other end
    return downstreams[0]
"""


def test_a_worker_that_gives_no_sign_of_life_is_ended_and_the_others_go_on(
    tmp_path: Path, systemd: Systemd
) -> None:
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "holds.py").write_text(HOLDS.format(gate=str(tmp_path / "gate")))
    env = {**systemd.env, "WATCHDOG_USEC": "2000000"}
    settings = config(user({"addr": "b.example:25"}, algorithm="./holds.py"), workers=2)
    with Serve(settings, tmp_path, env=env) as router, router.client() as client:
        assert systemd.hear_but_pings() == READY
        assert client.envelope(A, [B]).code == 250
        client.wire(HELLO + b".\r\n")
        router.log.wait("worker does not answer, and is ended")
        systemd.drop_what_has_come()
        router.log.wait("worker has ended", status="signal 6")
        router.log.wait("worker has begun")
        assert [systemd.hear(), systemd.hear()] == [PING, PING]


@pytest.mark.timeout(90)
def test_a_held_loop_gives_no_sign_of_life_and_is_not_ready_after_10_s(
    tmp_path: Path, systemd: Systemd
) -> None:
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "holds.py").write_text(HOLDS.format(gate=str(tmp_path / "gate")))
    env = {**systemd.env, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    with (
        Witness() as a,
        Serve(config(user(a, algorithm="./holds.py")), tmp_path, env=env) as router,
        router.client(timeout=30) as client,
    ):
        assert systemd.hear_but_pings() == READY
        assert [systemd.hear(), systemd.hear()] == [PING, PING]
        assert client.envelope(A, [B]).code == 250
        client.wire(HELLO + b".\r\n")
        router.log.wait("event loop held", plugin="./holds.py")
        systemd.drop_what_has_come()
        assert systemd.hears_nothing(3 * WATCHDOG_S)
        assert systemd.hear(20) == ["STATUS=Not ready: the event loop is held, see the log"]
        line = router.log.wait("not ready", plugin="./holds.py", hook="select_downstream")
        assert 10 <= line["seconds"] < 12
        with (tmp_path / "gate").open("w"):
            pass
        assert client.reply().code == 250
        assert systemd.hear_but_pings() == ["STATUS=Ready"]
        router.log.wait("ready again")
        assert systemd.hear() == PING


# The socket


def test_nobody_who_wants_to_know_is_told_nothing() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.tell("READY=1")
    notifier.close()


def test_a_systemd_that_cannot_be_reached_changes_nothing(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")})
    notifier.tell("READY=1")
    notifier.close()


def test_the_socket_may_be_an_abstract_one() -> None:
    systemd = Systemd(f"\0smtp-router-test-{os.getpid()}")
    notifier = Notifier(systemd.env)
    notifier.tell("READY=1", "STATUS=x")
    assert systemd.hear() == ["READY=1", "STATUS=x"]
    notifier.close()
    systemd.close()


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "our own"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
    ids=str,
)
def test_signs_of_life_are_given_if_they_are_asked_of_this_process(
    more: dict[str, str], seconds: float
) -> None:
    environ = {key: value.replace("our own", str(os.getpid())) for key, value in more.items()}
    assert Notifier(environ).watchdog_s == seconds
    assert PINGS >= 2  # sd_watchdog_enabled(3): within half of the time
