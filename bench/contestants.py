"""What is measured: a process, or a tree of them, that speaks SMTP on a port and uses CPU time."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from bench.asked import Figures

ROOT = Path(__file__).resolve().parent.parent
USER, PASSWORD = "user@bench.example", "correct horse"
STAMP = str(ROOT / "bench" / "yardstick_plugin.py")
"""A `before_send` and an `after_send` plugin."""
MANY = 1_000_000_000
END_S = 60.0


class Contestant(Protocol):
    """Somebody who takes mail."""

    @property
    def name(self) -> str:
        """How the tables call it."""
        ...

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        ...

    def cpu_s(self) -> float:
        """The CPU time that it has used so far, in user and kernel, all of its processes together."""
        ...


class Server:
    """A server in Python that says how it is (see `bench.asked`), in a process of its own; a context."""

    name: str

    def __init__(self, folder: Path, module: str, *arguments: str, under: Sequence[str] = ()) -> None:
        """Take what to run; entering the context runs it.

        Args:
            folder: for its log.
            module: as for `python -m`.
            arguments: of the module.
            under: a command that runs it and looks into it.
        """
        self._log = folder / f"{module}.log"
        self._command = [*under, sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.ports = self._read().ports
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    @property
    def port(self) -> int:
        """The first of its ports."""
        return self.ports[0]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def figures(self) -> Figures:
        """How it is now.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def cpu_s(self) -> float:
        """The CPU time that it has used so far."""
        return self.figures().cpu_s

    def resident_bytes(self) -> int:
        """How much of its memory is in RAM."""
        pid = self.pid
        if Path("/proc/self/statm").exists():
            pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        ps = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
        return int(subprocess.run(ps, check=True, capture_output=True).stdout) * 1024

    def _read(self) -> Figures:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it has ended:\n{self._log.read_text(errors='replace')[-2000:]}")
        return Figures(**json.loads(line))


ROUTER = "smtp-router"
IN_CLEAR = ({"addr": "127.0.0.1:0"},)


class Router(Server):
    """The router as users have it: it hands on to downstreams, with what production has on."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        downstreams: Sequence[Mapping[str, object]],
        listen: Sequence[object] = IN_CLEAR,
        plugins: Sequence[str] = (STAMP,),
        more_users: Sequence[Mapping[str, object]] = (),
        under: Sequence[str] = (),
    ) -> None:
        """Write the configuration, with limits that are counted and not reached.

        Args:
            folder: for the configuration and the log.
            options: of `bench.edge_process`.
            downstreams: what the configuration says of each, limits aside.
            listen: the listeners.
            plugins: what is called beside the algorithm.
            more_users: others, who send nothing.
            under: as of a `Server`.
        """
        self.name = ROUTER
        limits = {"concurrency": 10_000, "per_second": MANY}
        user = {
            "email": USER,
            "password": PASSWORD,
            "algorithm": "round_robin",
            "plugins": plugins,
            "downstreams": [{**each, "limits": limits} for each in downstreams],
        }
        file = _write(folder, listen, [*more_users, user])
        super().__init__(folder, "bench.edge_process", str(file), "--whole", *options, under=under)


class Edge(Server):
    """The router with a null sender, or less."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        name: str = "null sender",
        listen: Sequence[object] = IN_CLEAR,
    ) -> None:
        """Write the configuration, without a limit that a bench could run into.

        Args:
            folder: for the configuration and the log.
            options: of `bench.edge_process`.
            name: for the table.
            listen: the listeners.
        """
        self.name = name
        downstreams = [{"addr": f"127.0.0.1:{port}"} for port in (2501, 2502)]
        user = {"email": USER, "password": PASSWORD, "algorithm": "round_robin"}
        file = _write(folder, listen, [{**user, "downstreams": downstreams}])
        super().__init__(folder, "bench.edge_process", str(file), *options)


class Floor(Server):
    """The least that a server in Python can do."""

    name = "floor.py"

    def __init__(self, folder: Path) -> None:
        """Take a folder for its log."""
        super().__init__(folder, "bench.floor_process")


class Relay(Server):
    """The least that a router in Python can do."""

    name = "relay.py"

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        """Take a folder for its log, and the ports of its downstreams."""
        super().__init__(folder, "bench.relay_process", *map(str, ports))


def _write(folder: Path, listen: Sequence[object], users: Sequence[Mapping[str, object]]) -> Path:
    configuration = {
        "hostname": "bench.example",
        "listen": listen,
        "users": users,
        "control": None,
        "max_transactions": MANY,
        "max_connections": MANY,
        "max_connections_per_address": MANY,
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(configuration))
    return file
