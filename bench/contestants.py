"""What is measured: a process, or a tree of them, that speaks SMTP on a port and uses CPU time."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

ROOT = Path(__file__).resolve().parent.parent
USER, PASSWORD = "user@bench.example", "correct horse"
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
        """Where it listens on 127.0.0.1, in clear text."""
        ...

    def cpu_s(self) -> float:
        """The CPU time that it has used so far, in user and kernel, all of its processes together."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the router's process says it is.

    Args:
        ports: where it listens, in the order of the configuration.
        cpu_s: CPU time so far.
        traced_bytes: what Python has allocated, if that is counted.
        held_s: the longest time for which the event loop was held since the last figures, if watched.
        held_cpu_s: the same in CPU time.
    """

    ports: Sequence[int]
    cpu_s: float
    traced_bytes: int
    held_s: float
    held_cpu_s: float


def config(**more: object) -> dict[str, object]:
    """A configuration without limits that a bench could run into."""
    downstreams = [{"addr": f"127.0.0.1:{port}", "name": f"d{port}"} for port in (2501, 2502)]
    user = {"email": USER, "password": PASSWORD, "algorithm": "round_robin", "downstreams": downstreams}
    return {
        "hostname": "bench.example",
        "listen": [{"addr": "127.0.0.1:0"}],
        "users": [user],
        "max_transactions": MANY,
        "max_connections": MANY,
        "max_connections_per_address": MANY,
    } | more


class Edge:
    """The router with a null sender, in a process of its own; a context."""

    name = "smtp-router"

    def __init__(self, folder: Path, *options: str, **configuration: object) -> None:
        """Write the configuration; entering the context starts the process.

        Args:
            folder: for the configuration and the log.
            options: of `bench.edge_process`.
            configuration: keys in which it differs from `config()`.
        """
        self._folder = folder
        self._options = options
        (folder / "config.yaml").write_text(json.dumps(config(**configuration)))

    def __enter__(self) -> Self:
        with (self._folder / "router.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "bench.edge_process"),
                    *(str(self._folder / "config.yaml"), *self._options),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.ports = self._read().ports
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            assert self.process.stdin
            self.process.stdin.close()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()

    @property
    def port(self) -> int:
        """The first of the ports."""
        return self.ports[0]

    def figures(self) -> Figures:
        """How it is now."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def cpu_s(self) -> float:
        """The CPU time that it has used so far."""
        return self.figures().cpu_s

    def resident_bytes(self) -> int:
        """What of its memory is in RAM."""
        if Path("/proc").exists():
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        told = subprocess.run(
            ["/bin/ps", "-o", "rss=", "-p", str(self.process.pid)], check=True, capture_output=True
        )
        return int(told.stdout) * 1024

    def _read(self) -> Figures:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            log = (self._folder / "router.log").read_text(errors="replace")
            raise RuntimeError(f"the router has ended:\n{log[-2000:]}")
        return Figures(**json.loads(line))
