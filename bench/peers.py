"""The peers: HAProxy and Postfix, each in a private folder in front of a sink, with nothing left behind.

HAProxy moves bytes and knows no SMTP: the price of standing between. Postfix runs its before-queue
proxy, which like the router answers only after the server behind it did, and knows that one server only.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.dovecot import logins

START_S, END_S = 20.0, 10.0
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
MEASURABLE: Final = Path("/proc/self/stat").exists()
"""Whether the CPU time of processes that are not ours to ask can be had."""

HAPROXY = """\
global
  nbthread 2
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen smtp
  bind 127.0.0.1:{port} backlog 1024
  server sink 127.0.0.1:{behind}
"""

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = bench.example
mydestination =
alias_maps =
local_recipient_maps =
mynetworks =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{logins}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
message_size_limit = 104857600
default_process_limit = 250
"""

TLS_CF = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtpd_tls_session_cache_database = btree:$data_directory/smtpd_scache
smtp_tls_security_level = encrypt
smtp_tls_session_cache_database = btree:$data_directory/smtp_scache
"""

QUEUE_CF = """\
relayhost = [127.0.0.1]:{behind}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_connection_cache_on_demand = no
default_destination_concurrency_limit = 20
default_destination_recipient_limit = 1
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - 250 smtpd
  -o smtpd_proxy_filter={proxy}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
anvil unix - - n - 1 anvil
smtp unix - - n - - smtp
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


class MissingError(Exception):
    """A peer cannot take part; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer that runs.

    Args:
        name: how the tables call it.
        port: where it listens.
        root: the process above all of its others.
    """

    name: str
    port: int
    root: int

    def cpu_s(self) -> float:
        """The CPU time of all its processes, of those that have ended, too."""
        ticks = 0
        for pid in tree(self.root):
            with suppress(OSError):
                ticks += sum(map(int, _stat(pid)[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a sink has seen.

    Args:
        messages: it has taken.
        handshakes: of TLS.
        resumed: of those, of a session from before.
        cipher: version of TLS and cipher of the last one.
    """

    messages: int
    handshakes: int
    resumed: int
    cipher: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink(Peer):
    """A `sink.c`, which counts.

    Args:
        process: itself.
    """

    process: subprocess.Popen[str] = field(repr=False)

    def counts(self) -> Counts:
        """What it has seen so far."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Counts(**json.loads(self.process.stdout.readline()))


@contextmanager
def sink(program: Path, certificate: Path | None = None) -> Iterator[Sink]:
    """What is behind the peers: a server in C that does as good as nothing, the floor below them all.

    Args:
        program: as it was built.
        certificate: with its key, for STARTTLS; `None`: in clear text.
    """
    with subprocess.Popen(
        [program, *([certificate] if certificate else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            port = int(process.stdout.readline())
            yield Sink(name="sink.c", port=port, root=process.pid, process=process)
        finally:
            process.stdin.close()


@contextmanager
def haproxy(folder: Path, behind: int) -> Iterator[Peer]:
    """HAProxy in front of a port.

    Raises:
        MissingError: it is not installed.
    """
    program = _find("haproxy", "haproxy")
    port = _free_port()
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, behind=behind))
    with _running([program, "-f", str(file), "-db"], folder / "haproxy.log") as process:
        _await_banner("HAProxy", port, folder / "haproxy.log")
        yield Peer(name="haproxy", port=port, root=process.pid)


@contextmanager
def postfix(
    folder: Path,
    behind: int,
    *,
    name: str = "postfix",
    certificate: Path | None = None,
    queued: bool = False,
) -> Iterator[Peer]:
    """Postfix in front of a port.

    Args:
        folder: for all that it writes.
        behind: the port of 127.0.0.1 that it hands messages to.
        name: for the table.
        certificate: with its key, for STARTTLS with clients, with resumption; `None`: in clear text.
        queued: whether it answers when a message is in its queue, and hands it on after that, over
            STARTTLS if there is a certificate. As a proxy it does so in clear text only.

    Raises:
        MissingError: it is not installed, or this is not root.
    """
    program = _find("postfix", "postfix")
    if os.getuid() != 0:
        raise MissingError("Postfix only starts as root")
    port = _free_port()
    folder.chmod(0o755)  # Postfix's own user has to reach its folders
    for each in ("conf", "spool", "data"):
        (folder / each).mkdir()
    shutil.chown(folder / "data", "postfix")
    with ExitStack() as stack:
        words = {"folder": folder, "port": port, "behind": behind, "certificate": certificate}
        words["proxy"] = "" if queued else f"127.0.0.1:{behind}"
        words["logins"] = stack.enter_context(logins())
        main_cf = MAIN_CF + (TLS_CF if certificate else "") + (QUEUE_CF if queued else "")
        (folder / "conf" / "main.cf").write_text(main_cf.format_map(words))
        (folder / "conf" / "master.cf").write_text(MASTER_CF.format_map(words))
        command = [program, "-c", str(folder / "conf"), "start-fg"]
        process = stack.enter_context(_running(command, folder / "postfix.log"))
        _await_banner("Postfix", port, folder / "mail.log")
        yield Peer(name=name, port=port, root=process.pid)


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _find(program: str, package: str) -> str:
    found = shutil.which(program, path=PATH)
    if found is None:
        raise MissingError(f"{program} is not installed (on Debian and Ubuntu: apt install {package})")
    return found


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            mine = tree(process.pid)  # Postfix's have a process group of their own
            for pid in reversed(mine):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
                break


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _await_banner(name: str, port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), START_S) as client:
            if client.recv(512).startswith(b"220"):
                client.sendall(b"QUIT\r\n")
                return
        time.sleep(0.05)
    text = log.read_text(errors="replace") if log.exists() else "no log"
    raise MissingError(f"{name} did not start:\n{text[-2000:]}")
