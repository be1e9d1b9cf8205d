"""What users cost: until the router listens, in memory, at rest, and while they are loaded again.

    python -m bench.users [--users 1,10,10000] [--workers 1] [--repetitions 3] [--json FILE]

Each user has two downstreams of its own, with a login each. Measured is `smtp-router serve` itself, from
exec to its line `listening on`. Then it is at rest, and then its configuration is reloaded twice: with
one user's password changed, and with every user's. A plugin that one of the users has keeps a ticker on
the router's event loop, which notes the longest time between two turns: by the wall's clock, in which a
busy machine's other processes count, too, and in the router's own CPU time, all its threads together.
With several workers, what is in memory is that of the biggest one, and of the parent. Shown is the least
of all repetitions; and the floor, which is what Python takes with nothing but what no router can do
without. The router is compiled before, as an installer leaves it: where `PYTHONDONTWRITEBYTECODE` is
set, a source tree would be compiled at each start, which takes longer than all else.
"""

import compileall
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import smtp_router
from bench import report

REST_S = 3.0
CHANGED_S = 3.0
"""The coarsest time in which a changed file is seen, with what there is to do after that."""
MIB = 1024 * 1024
CONFIG = "config.yaml"
FLOOR = (
    ("python -c pass", ""),
    ("+ asyncio, ssl", "import asyncio, ssl"),
    ("+ uvloop", "import asyncio, ssl, uvloop"),
    (
        "+ other libraries",
        "import asyncio, ssl, uvloop, aiosmtpd.smtp, aiosmtplib, argon2, click, pluggy, sqlite3",
    ),
    ("smtp_router, imported", "import uvloop, smtp_router.cli.serving, smtp_router.cli.alone"),
)
"""What takes memory before there is a configuration, in steps."""

TICKER = '''\
import asyncio
import time

from smtp_router import hookimpl

TICK_S = 0.001


class Ticker:
    """Notes every time between two turns of the loop that is longer than a tick of it."""

    def __init__(self, file: str) -> None:
        self._file = open(file, "a", buffering=1)
        self._loop = asyncio.get_running_loop()
        self._last = time.monotonic(), time.process_time()
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        held_s, held_cpu_s = wall - self._last[0] - TICK_S, cpu - self._last[1]
        if held_s > TICK_S:
            self._file.write(f"{held_s} {held_cpu_s}\\n")
        self._last = wall, cpu
        self._loop.call_later(TICK_S, self._tick)

    @hookimpl
    def after_send(self) -> None:
        """It is a plugin for nothing else."""
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What so many users cost.

    Args:
        start_s: from exec to listening.
        start_cpu_s: the CPU time in that, with the process that reads the configuration.
        resident_mib: in RAM at rest; with several workers, of the biggest one.
        parent_mib: in RAM at rest, of the parent of several workers.
        rest_cpu_percent: of a core, at rest.
        one_s: from a change of one user to the line that says it is reloaded.
        one_held_ms: the longest time for which that held the event loop, to the end of what follows.
        one_held_cpu_ms: the same in CPU time.
        all_s: the same with every user changed.
        all_held_ms: the same.
        all_held_cpu_ms: the same.
        reloaded_mib: in RAM after both.
    """

    start_s: float
    start_cpu_s: float
    resident_mib: float
    parent_mib: float
    rest_cpu_percent: float
    one_s: float
    one_held_ms: float
    one_held_cpu_ms: float
    all_s: float
    all_held_ms: float
    all_held_cpu_ms: float
    reloaded_mib: float


def configuration(users: int, version: Sequence[int], workers: int = 1) -> Iterator[str]:
    """A configuration's lines; `version` has a number for each user, which its password has, too."""
    yield "listen: [{addr: '127.0.0.1:0'}]"
    if workers > 1:
        yield f"workers: {workers}"
    yield "hostname: bench.example"
    yield "users:"
    for number in range(users):
        yield f"  - email: user{number}@bench.example"
        yield f"    password: correct horse {number} {version[number]}"
        yield "    algorithm: round_robin"
        if number == 0:
            yield "    plugins: [{use: ./ticker.py, options: {file: held}}]"
        yield "    downstreams:"
        for name in ("one", "two"):
            yield f"      - addr: smtp{number}.{name}.example:587"
            yield f"        user: login{number}"
            yield f"        pass: secret {number} of {name}"
            yield f"        name: {name}"


class Router:
    """`smtp-router serve` in a folder of its own; a context."""

    def __init__(self, folder: Path, users: int, workers: int) -> None:
        """Write its configuration."""
        self._folder = folder
        self._workers = workers
        self._versions = [0] * users
        (folder / "ticker.py").write_text(TICKER)
        self._write(CONFIG)

    def __enter__(self) -> Self:
        program = Path(sys.executable).with_name("smtp-router")
        began = time.monotonic()
        self._process = subprocess.Popen(
            [program, "serve", "-c", CONFIG],
            cwd=self._folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            self._read_until("listening on")
            self.start_s = time.monotonic() - began
            self.start_cpu_s = self.cpu_s()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.send_signal(signal.SIGTERM)

    def cpu_s(self) -> float:
        """The CPU time that it has used, and its processes that have ended."""
        if Path("/proc/self/stat").exists():
            numbers = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")
        minutes, _, seconds = _ps("time", self._process.pid).rpartition(":")
        return 60 * int(minutes.replace(":", "")) + float(seconds)

    def resident_mib(self) -> tuple[float, float]:
        """How much of its memory is in RAM: of the router or its biggest worker, and of the parent."""
        pid = self._process.pid
        if self._workers == 1:
            return resident_mib(pid), 0.0
        workers = subprocess.run(
            ["/usr/bin/pgrep", "-P", str(pid)], check=True, capture_output=True, text=True
        )
        return max(map(resident_mib, map(int, workers.stdout.split()))), resident_mib(pid)

    def reloaded(self, users: int) -> tuple[float, float, float]:
        """Change so many users; how long it takes until that counts, and how long the loop is held."""
        for number in range(users):
            self._versions[number] += 1
        changed = self._write("changed.yaml")
        (self._folder / "held").write_text("")
        began = time.monotonic()
        changed.replace(self._folder / CONFIG)  # and no later told: else it may find that by itself, too
        self._process.send_signal(signal.SIGHUP)
        self._read_until("reloaded")
        took_s = time.monotonic() - began
        time.sleep(CHANGED_S)
        lines = (self._folder / "held").read_text().splitlines()
        held, held_cpu = zip((0.0, 0.0), *(map(float, line.split()) for line in lines), strict=True)
        return took_s, max(held), max(held_cpu)

    def _write(self, name: str) -> Path:
        file = self._folder / name
        file.write_text("\n".join(configuration(len(self._versions), self._versions, self._workers)))
        return file

    def _read_until(self, words: str) -> None:
        assert self._process.stderr
        heard = []
        for line in self._process.stderr:
            heard.append(line)
            if re.search(words, line):
                return
        raise RuntimeError(f"it has ended: {''.join(heard)}")


def resident_mib(pid: int) -> float:
    """How much of a process's memory is in RAM."""
    if Path("/proc/self/statm").exists():
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize() / MIB
    return int(_ps("rss", pid)) / 1024


def _ps(column: str, pid: int) -> str:
    command = ["/bin/ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def floor_mib(code: str) -> float:
    """What an interpreter takes that has done nothing else."""
    waits = f"{code}\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", waits]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        found = resident_mib(process.pid)
        process.communicate("\n")
        return found


def measure(users: int, workers: int) -> Cost:
    """What so many users cost, once."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-users-") as name,
        Router(Path(name), users, workers) as router,
    ):
        time.sleep(CHANGED_S)
        cpu_s, (own_mib, parent_mib) = router.cpu_s(), router.resident_mib()
        time.sleep(REST_S)
        rest_cpu_percent = 100 * (router.cpu_s() - cpu_s) / REST_S
        one_s, one_held_s, one_held_cpu_s = router.reloaded(1)
        all_s, all_held_s, all_held_cpu_s = router.reloaded(users)
        return Cost(
            start_s=router.start_s,
            start_cpu_s=router.start_cpu_s,
            resident_mib=own_mib,
            parent_mib=parent_mib,
            rest_cpu_percent=rest_cpu_percent,
            one_s=one_s,
            one_held_ms=1000 * one_held_s,
            one_held_cpu_ms=1000 * one_held_cpu_s,
            all_s=all_s,
            all_held_ms=1000 * all_held_s,
            all_held_cpu_ms=1000 * all_held_cpu_s,
            reloaded_mib=router.resident_mib()[0],
        )


def best(costs: Sequence[Cost]) -> Cost:
    """The least of each figure."""
    return Cost(**{one.name: min(getattr(cost, one.name) for cost in costs) for one in fields(Cost)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--users", default="1,10,10000")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    asked = parser.parse_args(arguments)
    compileall.compile_dir(Path(smtp_router.__file__).parent, quiet=1)
    found = {
        users: best([measure(users, asked.workers) for _ in range(asked.repetitions)])
        for users in map(int, asked.users.split(","))
    }
    columns = ["users", "start s", "CPU s", "MiB", "parent", "% at rest"]
    for changed in ("one", "all"):
        columns += [f"{changed}: s", "held ms", "in CPU ms"]
    rows = [
        (users, *(float(f"{value:.3g}") for value in asdict(cost).values()))
        for users, cost in found.items()
    ]
    report.show((*columns, "MiB after"), rows, markdown=asked.markdown)
    floor = [
        (name, round(min(floor_mib(code) for _ in range(asked.repetitions)), 1)) for name, code in FLOOR
    ]
    report.show(("the floor", "MiB"), floor, markdown=asked.markdown)
    if asked.json:
        figures = {users: asdict(cost) for users, cost in found.items()}
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
