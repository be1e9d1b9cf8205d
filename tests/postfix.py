"""A Postfix of the test's own, that hands all its mail to a router.

Rules:
1. Configuration, queue and data are in a folder of its own; the system's Postfix notices nothing.
2. It takes mail on a Unix socket, so there is no port to be free.
3. Its log is its output: what a test waits for is a line of it, and when the output has ended, so has
   every one of its processes.
"""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.running import WAIT_S, Process

QUEUES: Final = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "private", "public", "saved", "trace"),
)
SERVICES: Final = """\
submit    unix       n - n -     - smtpd
smtp      unix       - - n -     - smtp
cleanup   unix       n - n -     0 cleanup
qmgr      unix       n - n 300   1 qmgr
pickup    unix       n - n 60    1 pickup
rewrite   unix       - - n -     - trivial-rewrite
bounce    unix       - - n -     0 bounce
defer     unix       - - n -     0 bounce
trace     unix       - - n -     0 bounce
error     unix       - - n -     - error
retry     unix       - - n -     - error
showq     unix       n - n -     - showq
tlsmgr    unix       - - n 1000? 1 tlsmgr
tlsproxy  unix       - - n -     0 tlsproxy
scache    unix       - - n -     1 scache
anvil     unix       - - n -     1 anvil
proxymap  unix       - - n -     - proxymap
postlog   unix-dgram n - n -     1 postlogd
"""


class _Client(smtplib.LMTP):
    """The standard library's one that takes Unix sockets, speaking SMTP."""

    ehlo_msg = "ehlo"


class Postfix:
    """A running Postfix.

    Args:
        settings: of `main.cf`, over those that make it a relay that tries again only when told to.
    """

    def __init__(self, **settings: str) -> None:
        """Note the settings; entering the context starts it, or skips the test where it cannot run."""
        self._settings = settings

    def __enter__(self) -> Self:
        master = _master()
        # Not pytest's folder: that one is closed to others, and too deep for the name of a socket.
        self._folder = tempfile.TemporaryDirectory(prefix="postfix-")
        try:
            self.config, self._queue = _lay_out(Path(self._folder.name), self._settings)
            self.process = Process(master, "-c", str(self.config), "-s", cwd=self.config)
            try:
                self.process.wait_line("daemon started")
            except BaseException:
                self.process.__exit__()
                raise
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.__exit__()
            left = self.processes()
            assert not left, left
        finally:
            self._folder.cleanup()

    def submit(
        self,
        mail_from: str,
        rcpt_tos: Sequence[str],
        *contents: bytes,
        options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> None:
        """Hand over messages, which Postfix has taken once this returns."""
        with _Client(str(self._queue / "public" / "submit"), local_hostname="client.example") as client:
            for content in contents:
                refused = client.sendmail(mail_from, rcpt_tos, content, options, rcpt_options)
                assert refused == {}

    def queue(self) -> list[dict[str, Any]]:
        """The messages that Postfix keeps, with why."""
        return [json.loads(line) for line in self._postqueue("-j").splitlines()]

    def wait_deferred(self, count: int) -> list[dict[str, Any]]:
        """Wait until Postfix has put away so many messages, and nothing else; these messages."""
        until = time.monotonic() + 2 * WAIT_S
        while time.monotonic() < until:  # at the pace of the command
            queue = self.queue()
            put_away = len(queue) == count and all(one["queue_name"] == "deferred" for one in queue)
            if put_away and not self._locked():
                return queue
        raise AssertionError(self.process.output)

    def flush(self) -> None:
        """Have everything tried again now."""
        self._postqueue("-f")

    def wait(self, pattern: str, *, times: int = 1) -> list[str]:
        """Wait until so many lines of its log have this; these lines."""
        lines: list[str] = []
        after = 0
        while len(lines) < times:
            match = self.process.wait_line(pattern, after=after, seconds=2 * WAIT_S)
            after = self.process.lines.index(match.string, after) + 1
            lines.append(match.string)
        return lines

    def processes(self) -> list[str]:
        """The processes of this Postfix: all of them work in its queue."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").readlink() == self._queue:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended
        return found

    def _locked(self) -> bool:
        """Whether a message that was put away is still held by who tried to deliver it.

        Postfix, told to try it right then, would skip it and lay it aside until its next start.
        """
        locks = Path("/proc/locks").read_text()
        files = (self._queue / "deferred").rglob("*")
        return any(f":{file.stat().st_ino} " in locks for file in files)

    def _postqueue(self, flag: str) -> str:
        command = ["postqueue", "-c", str(self.config), flag]
        done = subprocess.run(  # noqa: S603 - Postfix's own command
            command, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def require_sasl(mechanism: str) -> None:
    """Skip the test where Cyrus SASL, which logs in for Postfix, has no such mechanism."""
    plugin = f"sasl2/lib{mechanism.partition('-')[0].lower()}.so"
    folders = (Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-*"))
    if not any((folder / plugin).exists() for folder in folders):
        pytest.skip(f"Cyrus SASL has no {mechanism}: on Debian and Ubuntu it is in libsasl2-modules")


def _master() -> str:
    """The program that runs Postfix; skips the test where it cannot run."""
    if os.geteuid() != 0:
        pytest.skip("only root can start Postfix")
    if shutil.which("postconf") is None:
        pytest.skip("postfix is not installed")
    asked = ["postconf", "-d", "-h", "daemon_directory"]
    folder = subprocess.run(asked, capture_output=True, text=True, timeout=WAIT_S, check=True)  # noqa: S603
    return str(Path(folder.stdout.strip()) / "master")


def _lay_out(folder: Path, settings: dict[str, str]) -> tuple[Path, Path]:
    """Write the configuration and make the empty queue, with the owners that Postfix expects."""
    config, queue, data = (folder / name for name in ("config", "queue", "data"))
    for path in (config, queue, data, queue / "pid", *(queue / name for name in QUEUES)):
        path.mkdir()
    for path in (data, *(queue / name for name in QUEUES)):
        path.chmod(0o700)
        shutil.chown(path, "postfix")
    folder.chmod(0o755)
    main = {
        "compatibility_level": "3.6",
        "queue_directory": str(queue),
        "data_directory": str(data),
        "maillog_file": "/dev/stdout",
        "myhostname": "postfix.example",
        "mydestination": "",
        "alias_maps": "",
        "local_recipient_maps": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "loopback-only",
        "inet_protocols": "ipv4",
        "smtp_dns_support_level": "disabled",
        "smtp_host_lookup": "native",
        "smtp_mx_session_limit": "1",  # or it goes on to the next address of a host at once
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
        "queue_run_delay": "1h",
    } | settings
    main_cf = config / "main.cf"
    main_cf.write_text("".join(f"{key} = {value}\n" for key, value in main.items()))
    os.utime(main_cf, (0, 0))  # one that might be being written just now is read again and again
    (config / "master.cf").write_text(SERVICES)
    return config, queue
