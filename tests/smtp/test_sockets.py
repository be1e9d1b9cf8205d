"""Where a router listens: TCP, Unix sockets, and what systemd passes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtp_router.config.types import HostPort, SystemdSocket, UnixPath
from smtp_router.smtp.sockets import listening_sockets
from tests.rawclient import RawClient
from tests.running import ROOT, Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


def ipv6_works() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as running:
        yield running


class UnixClient(RawClient):
    """A client of a Unix socket."""

    def __init__(self, path: Path) -> None:
        self._buffer = bytearray()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        try:
            self.sock.connect(str(path))
            self.banner = self.reply()
        except BaseException:
            self.sock.close()
            raise


# TCP


def test_a_name_with_several_addresses_listens_on_all_of_them_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    ]
    if ipv6_works():
        found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)))  # type: ignore[arg-type]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sockets = listening_sockets(HostPort(host="several.example", port=0))
    names = [each.getsockname()[:2] for each in sockets]
    for each in sockets:
        assert not each.getblocking()
        each.close()
    assert len({port for _, port in names}) == 1
    expected = ["127.0.0.1", "127.0.0.2", *(["::1"] if ipv6_works() else [])]
    assert [host for host, _ in names] == expected


def test_an_address_in_use_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        listening_sockets(HostPort(host="127.0.0.1", port=other.getsockname()[1]))


@pytest.mark.skipif(not ipv6_works(), reason="there is no IPv6 here")
def test_ipv6_is_listened_on_and_named_in_received(witness: Witness, tmp_path: Path) -> None:
    configuration = one_user(witness, listen=[{"addr": "[::1]:0"}, {"addr": "127.0.0.1:0"}])
    configuration["users"][0]["networks"] = ["::1", "127.0.0.1"]
    with Router(configuration, tmp_path) as router:
        hosts = [address for address in router.addresses if isinstance(address, HostPort)]
        for address in hosts:
            with RawClient(address.host, address.port) as client:
                assert client.command(b"EHLO client.example").code == 250
                assert client.transaction(A, [B], HELLO).code == 250
    first, second = witness.deliveries
    assert b"from client.example ([IPv6:::1])\r\n" in first.content
    assert b"from client.example ([127.0.0.1])\r\n" in second.content


# Unix sockets


def test_mail_comes_in_through_a_unix_socket(witness: Witness, tmp_path: Path) -> None:
    configuration = one_user(witness, listen=[{"addr": "unix:smtp.sock"}])
    path = tmp_path / "smtp.sock"
    with Router(configuration, tmp_path) as router:
        assert router.addresses == (UnixPath(path=str(path)),)
        with UnixClient(path) as client:
            assert client.command(b"EHLO client.example").code == 250
            assert client.login("app@app.example", "open sesame").code == 235
            assert client.transaction(A, [B], HELLO).code == 250
    assert b"Received: from client.example\r\n\tby router.example" in witness.deliveries[0].content
    assert not path.exists()


def test_a_client_of_a_unix_socket_is_on_this_machine(witness: Witness, tmp_path: Path) -> None:
    configuration = one_user(witness, listen=[{"addr": "unix:smtp.sock"}])
    with Router(configuration, tmp_path), UnixClient(tmp_path / "smtp.sock") as client:
        assert client.command(b"EHLO client.example").code == 250
        assert client.login("app@app.example", "open sesame").code == 235


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    (ours,) = listening_sockets(UnixPath(path=str(path)))
    with ours, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    address = UnixPath(path=str(tmp_path / "s"))
    (first,) = listening_sockets(address)
    with first:
        with pytest.raises(OSError, match="in use"):
            listening_sockets(address)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.path)


def test_a_file_is_no_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        listening_sockets(UnixPath(path=str(path)))
    assert path.read_text() == "precious"


# systemd


PASS = """
import os, socket, sys
first = socket.create_server(("127.0.0.1", 0))
second = socket.create_server(("127.0.0.1", 0))
ports = [each.getsockname()[1] for each in (first, second)]
high = [os.dup2(each.detach(), 10 + number) for number, each in enumerate((first, second))]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "first:second"}
print(*ports, flush=True)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

USE = """
import sys
from smtp_router.config.types import SystemdSocket
from smtp_router.smtp.sockets import listening_sockets
for name in sys.argv[1:]:
    try:
        print(listening_sockets(SystemdSocket(name=name))[0].getsockname()[1])
    except OSError as error:
        print(error)
"""


def test_systemd_passes_sockets_by_name_or_the_first() -> None:
    command = [sys.executable, "-c", PASS, "-c", USE, "", "first", "second", "third", "second"]
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    ports, *found = done.stdout.splitlines()
    first, second = ports.split()
    assert found == [first, first, second, "systemd passes no socket third", second]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
    ],
    ids=["nothing", "no process", "another", "no count", "none"],
)
def test_what_is_meant_for_somebody_else_is_not_taken(environ: dict[str, str]) -> None:
    with pytest.raises(OSError, match=r"systemd passes no socket$"):
        listening_sockets(SystemdSocket(name=""), environ)
