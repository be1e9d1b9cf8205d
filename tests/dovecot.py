"""A Dovecot of the test's own, of which only the part runs that checks logins.

Rules:
1. All that it writes is in a folder of its own; the system's Dovecot notices nothing.
2. It is asked over a Unix socket, in its authentication protocol 1.2, by a witness that passes on what
   the client says to it, and back.
3. Its log is its output; when that has ended, so have all of its processes.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Final, Self

import pytest

from tests.running import WAIT_S, Process
from tests.sasl import Ask, Server

BY_PASSWORD: Final = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
BY_TOKEN: Final = ("XOAUTH2", "OAUTHBEARER")

_SETTINGS: Final = """\
protocols =
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
ssl = no
default_internal_user = root
default_internal_group = root
default_login_user = root
auth_mechanisms = {mechanisms}
auth_username_format =
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  mechanisms = {by_password}
  args = scheme=PLAIN username_format=%u {folder}/passwords
}}
passdb {{
  driver = oauth2
  mechanisms = {by_token}
  args = {folder}/oauth2
}}
userdb {{
  driver = static
  args = uid=root gid=root home={folder}
}}
service auth {{
  user = root
  unix_listener ask {{
    mode = 0600
  }}
}}
"""
_OAUTH2: Final = """\
introspection_mode = post
introspection_url = {introspection}
active_attribute = active
active_value = true
username_attribute = username
"""


class Dovecot:
    """A running Dovecot.

    Args:
        user: the login that it knows.
        password: its password.
        introspection: URL of where it asks whether a token is right.
    """

    def __init__(self, user: str, password: str, *, introspection: str = "http://127.0.0.1:1/") -> None:
        """Note the settings; entering the context starts it, or skips the test where it cannot run."""
        self._user, self._password, self._introspection = user, password, introspection

    def __enter__(self) -> Self:
        program = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None or os.geteuid() != 0:
            pytest.skip("no Dovecot here, or not root, which it has to be started as")
        # Not pytest's folder: that one is too deep for the name of a socket.
        self._folder = tempfile.TemporaryDirectory(prefix="dovecot-")
        folder = Path(self._folder.name)
        (folder / "passwords").write_text(f"{self._user}:{{PLAIN}}{self._password}::::::\n")
        (folder / "oauth2").write_text(_OAUTH2.format(introspection=self._introspection))
        (folder / "dovecot.conf").write_text(
            _SETTINGS.format(
                folder=folder,
                mechanisms=" ".join((*BY_PASSWORD, *BY_TOKEN)).lower(),
                by_password=" ".join(BY_PASSWORD).lower(),
                by_token=" ".join(BY_TOKEN).lower(),
            )
        )
        self._socket = folder / "run" / "ask"
        try:
            self.process = Process(program, "-F", "-c", str(folder / "dovecot.conf"), cwd=folder)
            try:
                self.process.wait_line("starting up")
            except BaseException:
                self.process.__exit__()
                raise
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(
                self.process.process.pid, signal.SIGTERM
            )  # all at once: alone, the first one waits
            self.process.__exit__()
        finally:
            self._folder.cleanup()

    def server(self, mechanism: str) -> Server:
        """The server's side of a mechanism, for a witness."""

        def server(ask: Ask, initial: bytes, user: bytes, _: bytes) -> tuple[bytes, bool]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(WAIT_S)
                connection.connect(str(self._socket))
                with connection.makefile("rwb", buffering=0) as lines:
                    said = b"\tresp=" + base64.b64encode(ask(b"", initial)) if initial else b""
                    request = f"VERSION\t1\t2\nCPID\t{os.getpid()}\nAUTH\t1\t{mechanism}\tservice=smtp"
                    lines.write(request.encode() + b"\tsecured\tno-penalty" + said + b"\n")
                    while True:
                        verb, *words = lines.readline().rstrip(b"\n").split(b"\t")
                        match verb:
                            case b"CONT":
                                said = base64.b64encode(ask(base64.b64decode(words[1]), b""))
                                lines.write(b"CONT\t1\t" + said + b"\n")
                            case b"OK":
                                assert b"user=" + user in words
                                return user, True
                            case b"FAIL":
                                return user, False
                            case _:  # what it says to begin with, until it says nothing more
                                assert verb, self.process.output

        return server
