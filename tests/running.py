"""Routers to test against: the whole service in a thread, and `smtp-router serve` as a process.

Rules:
1. What a test waits for is an event (a log record, a reply, an exit), never a span of time.
2. Leaving a `with` block stops the router in order, and finds no task left behind.
3. Configurations are plain data, written as JSON: every JSON document is YAML.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Self

from smtp_router.testing.log import RouterLog
from smtp_router.testing.serving import ServiceThread
from tests.rawclient import RawClient
from tests.witness import Witness

ROOT: Final = Path(__file__).parents[1]
USER, PASSWORD = "app@app.example", "open sesame"
WAIT_S: Final = 10.0

Config = dict[str, Any]
Entry = dict[str, Any]


def downstream(witness: Witness, **more: object) -> Config:
    """A witness, as the configuration has a downstream: named, and with its login if it wants one."""
    config: Config = {"addr": witness.addr, "name": witness.name}
    if witness.auth:
        user, password = (part.decode() for part in witness.auth)
        config |= {"user": user, "pass": password}
    return config | more


def user(*downstreams: Witness | Config, **more: object) -> Config:
    """One user of the configuration; mail goes to the first downstream that works."""
    listed = [downstream(one) if isinstance(one, Witness) else one for one in downstreams]
    return {
        "email": USER,
        "password": PASSWORD,
        "algorithm": "failover",
        "downstreams": listed,
    } | more


def config(*users: Config, **more: object) -> Config:
    """A whole configuration, on a free port."""
    return {
        "hostname": "router.example",
        "listen": [{"addr": "127.0.0.1:0"}],
        "drain_s": 5,
        "users": list(users),
    } | more


def one_user(*downstreams: Witness | Config, **more: object) -> Config:
    """A configuration with a single user."""
    return config(user(*downstreams), **more)


@contextmanager
def held(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Keep an event loop in another thread from doing anything."""
    holding, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        go_on.wait(WAIT_S)

    loop.call_soon_threadsafe(hold)
    assert holding.wait(WAIT_S)
    try:
        yield
    finally:
        go_on.set()


class _Running:
    """What both kinds of router have in common: a configuration file, a port, clients."""

    def __init__(self, configuration: Config, folder: Path) -> None:
        self.file = folder / "config.yaml"
        self.configure(configuration)
        self.log = RouterLog()
        self.port = 0

    def configure(self, configuration: Config) -> None:
        """Write the configuration."""
        self.write(json.dumps(configuration, indent=1).encode())

    def write(self, text: bytes) -> None:
        """Write the configuration's file, all at once, as a deployment would."""
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(text)
        fresh.replace(self.file)

    def connect(self, *, timeout: float = WAIT_S, read_banner: bool = True) -> RawClient:
        """A client that has said nothing yet."""
        return RawClient("127.0.0.1", self.port, timeout, read_banner=read_banner)

    def client(
        self, user: str = USER, password: str = PASSWORD, *, timeout: float = WAIT_S
    ) -> RawClient:
        """A client that has logged in."""
        client = self.connect(timeout=timeout)
        try:
            assert client.command(b"EHLO client.example").code == 250
            assert client.login(user, password).code == 235
        except BaseException:
            client.close()
            raise
        return client


class Router(_Running):
    """The whole service, on an event loop in a thread of its own."""

    def __init__(
        self,
        configuration: Config,
        folder: Path,
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        """Write the configuration; entering the context starts the router.

        Raises:
            ConfigError: (on entering) the configuration cannot be used.
        """
        super().__init__(configuration, folder)
        self._serving = ServiceThread(self.file, loop_factory=loop_factory, log=self.log)

    def __enter__(self) -> Self:
        self._serving.__enter__()
        self.addresses = self._serving.service.addresses
        self.port = self._serving.port
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()

    @property
    def is_ready(self) -> bool:
        """Whether it says that mail should be sent to it."""
        return self._serving.service.is_ready

    def stop(self) -> None:
        """Begin to drain; the second time, cut off."""
        self._serving.stop()

    def reload(self) -> None:
        """What SIGHUP does."""
        self._serving.ask_to_reload()

    def held(self) -> AbstractContextManager[None]:
        """Keep the router from doing anything: when it goes on, all that clients did has come."""
        return held(self._serving.loop)

    def ended(self, seconds: float = 2 * WAIT_S) -> None:
        """Wait until the router has stopped; raises what ended it."""
        self._serving.ended(seconds)


def environment(**more: str) -> dict[str, str]:
    """The environment for a command of ours: the repository's own package is the one that runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


class Process:
    """A command as a process; all that it says is kept, line by line."""

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it, in a session of its own: what signals it gets is up to the test."""
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(  # noqa: S603 - commands of the tests
            command,
            cwd=cwd,
            env=env,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdout
        assert self.process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream:
                    stream.close()

    @property
    def output(self) -> str:
        """All that was said, on stdout and stderr."""
        return "\n".join(tuple(self.lines))

    def took(self, line: str) -> None:
        """Take a line of its output; to be extended."""
        self.lines.append(line)

    def type(self, text: str) -> None:
        """Type on its keyboard."""
        assert self.process.stdin
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_line(self, pattern: str, *, after: int = 0, seconds: float = WAIT_S) -> re.Match[str]:
        """Wait for a line (of those from number `after`) in which this is found."""
        with self._changed:

            def found() -> re.Match[str] | None:
                matches = (re.search(pattern, line) for line in self.lines[after:])
                return next(filter(None, matches), None)

            match = self._changed.wait_for(found, timeout=seconds)
            assert match, f"no {pattern!r} within {seconds} s in:\n{self.output}"
            return match

    def ended(self, seconds: float = 2 * WAIT_S) -> int:
        """Wait until it has ended and all its output is read; its exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(WAIT_S)
        return code

    def end(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.ended()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self.took(line.rstrip("\n"))
                self._changed.notify_all()


class Program(Process):
    """A command of ours."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        before: str = "true",
        redirect: str = "",
    ) -> None:
        """Start `smtp-router` with these arguments.

        What is for the shell: a command `before` it, as `ulimit -n 100` is, and `redirect`, as `<&-`.
        """
        program = [sys.executable, "-m", "smtp_router", *arguments]
        program = ["/bin/sh", "-c", f"{before} && exec {shlex.join(program)} {redirect}"]
        super().__init__(*program, cwd=cwd, env=environment(**(env or {})))


class Serve(_Running):
    """`smtp-router serve` as a process; its log is read as JSON."""

    def __init__(
        self,
        configuration: Config,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        before: str = "true",
    ) -> None:
        """Write the configuration; entering the context starts the router."""
        super().__init__(configuration, folder)
        self._folder, self._arguments, self._env, self._before = folder, arguments, env, before

    def __enter__(self) -> Self:
        self.program = _LoggingProgram(
            self.log,
            *("serve", "--log-format", "json", "-c", str(self.file), *self._arguments),
            cwd=self._folder,
            env=self._env,
            before=self._before,
        )
        try:
            self.port = int(self.program.wait_line(r"listening on 127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.program.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.program.signal(number)

    def ended(self, seconds: float = 2 * WAIT_S) -> int:
        """Wait until it has ended; its exit code."""
        return self.program.ended(seconds)


class _LoggingProgram(Program):
    def __init__(
        self,
        log: RouterLog,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        before: str = "true",
    ) -> None:
        self._log = log
        super().__init__(*arguments, cwd=cwd, env=env, before=before)

    def took(self, line: str) -> None:
        super().took(line)
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        self._log.add(entry if isinstance(entry, dict) else {"event": line, "level": "none"})
