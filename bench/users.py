"""What users cost: until the router listens, in memory, at rest, and while they are loaded again.

    python -m bench.users [--users 1,10,10000] [--repetitions 3] [--json FILE]

Each user has two downstreams of its own, with a login each. Measured is `smtp-router serve` itself, from
exec to its line `listening on`. Then it is at rest, and then its configuration is reloaded twice: with
one user's password changed, and with every user's. A plugin that one of the users has keeps a ticker on
the router's event loop, which notes the longest time between two turns: by the wall's clock, in which a
busy machine's other processes count, too, and in the router's own CPU time, all its threads together.
Shown is the least of all repetitions.
"""

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

from bench import report

REST_S = 3.0
CHANGED_S = 3.0
"""The coarsest time in which a changed file is seen, with what there is to do after that."""
MIB = 1024 * 1024

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
        start_cpu_s: the CPU time in that.
        resident_mib: in RAM at rest.
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
    rest_cpu_percent: float
    one_s: float
    one_held_ms: float
    one_held_cpu_ms: float
    all_s: float
    all_held_ms: float
    all_held_cpu_ms: float
    reloaded_mib: float


def configuration(users: int, version: Sequence[int]) -> Iterator[str]:
    """A configuration's lines; `version` has a number for each user, which its password has, too."""
    yield "listen: [{addr: '127.0.0.1:0'}]"
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

    def __init__(self, folder: Path, users: int) -> None:
        """Write its configuration."""
        self._folder = folder
        self._versions = [0] * users
        (folder / "ticker.py").write_text(TICKER)
        self._write()

    def __enter__(self) -> Self:
        program = Path(sys.executable).with_name("smtp-router")
        began = time.monotonic()
        self._process = subprocess.Popen(
            [program, "serve", "-c", "config.yaml"],
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
        """The CPU time that it has used."""
        if Path("/proc/self/stat").exists():
            numbers = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
        minutes, _, seconds = self._ps("time").rpartition(":")
        return 60 * int(minutes.replace(":", "")) + float(seconds)

    def resident_mib(self) -> float:
        """How much of its memory is in RAM."""
        if Path("/proc/self/statm").exists():
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
            return int(pages) * resource.getpagesize() / MIB
        return int(self._ps("rss")) / 1024

    def reloaded(self, users: int) -> tuple[float, float, float]:
        """Change so many users; how long it takes until that counts, and how long the loop is held."""
        for number in range(users):
            self._versions[number] += 1
        self._write()
        (self._folder / "held").write_text("")
        began = time.monotonic()
        self._process.send_signal(signal.SIGHUP)
        self._read_until("reloaded")
        took_s = time.monotonic() - began
        time.sleep(CHANGED_S)
        lines = (self._folder / "held").read_text().splitlines()
        held, held_cpu = zip((0.0, 0.0), *(map(float, line.split()) for line in lines), strict=True)
        return took_s, max(held), max(held_cpu)

    def _write(self) -> None:
        text = "\n".join(configuration(len(self._versions), self._versions))
        (self._folder / "config.yaml").write_text(text)

    def _read_until(self, words: str) -> None:
        assert self._process.stderr
        heard = []
        for line in self._process.stderr:
            heard.append(line)
            if re.search(words, line):
                return
        raise RuntimeError(f"it has ended: {''.join(heard)}")

    def _ps(self, column: str) -> str:
        command = ["/bin/ps", "-o", f"{column}=", "-p", str(self._process.pid)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def measure(users: int) -> Cost:
    """What so many users cost, once."""
    with tempfile.TemporaryDirectory(prefix="bench-users-") as name, Router(Path(name), users) as router:
        time.sleep(CHANGED_S)
        cpu_s, resident_mib = router.cpu_s(), router.resident_mib()
        time.sleep(REST_S)
        rest_cpu_percent = 100 * (router.cpu_s() - cpu_s) / REST_S
        one_s, one_held_s, one_held_cpu_s = router.reloaded(1)
        all_s, all_held_s, all_held_cpu_s = router.reloaded(users)
        return Cost(
            start_s=router.start_s,
            start_cpu_s=router.start_cpu_s,
            resident_mib=resident_mib,
            rest_cpu_percent=rest_cpu_percent,
            one_s=one_s,
            one_held_ms=1000 * one_held_s,
            one_held_cpu_ms=1000 * one_held_cpu_s,
            all_s=all_s,
            all_held_ms=1000 * all_held_s,
            all_held_cpu_ms=1000 * all_held_cpu_s,
            reloaded_mib=router.resident_mib(),
        )


def best(costs: Sequence[Cost]) -> Cost:
    """The least of each figure."""
    return Cost(**{one.name: min(getattr(cost, one.name) for cost in costs) for one in fields(Cost)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = report.parser(__doc__)
    parser.add_argument("--users", default="1,10,10000")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    asked = parser.parse_args(arguments)
    found = {
        users: best([measure(users) for _ in range(asked.repetitions)])
        for users in map(int, asked.users.split(","))
    }
    columns = ["users", "start s", "CPU s", "MiB", "% at rest"]
    for changed in ("one", "all"):
        columns += [f"{changed}: s", "held ms", "in CPU ms"]
    rows = [
        (users, *(float(f"{value:.3g}") for value in asdict(cost).values()))
        for users, cost in found.items()
    ]
    report.show((*columns, "MiB after"), rows, markdown=asked.markdown)
    if asked.json:
        figures = {users: asdict(cost) for users, cost in found.items()}
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
