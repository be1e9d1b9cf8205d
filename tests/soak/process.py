"""A router as a process of its own, whose log goes to a file and whose memory is watched."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.running import Config, environment

START_S: Final = 20.0
_STARTED: Final = '"listening on 127.0.0.1:'


class RouterProcess:
    """`smtp-router serve`, for as long as the block lasts."""

    def __init__(self, configuration: Config, folder: Path) -> None:
        """Write the configuration; entering the context starts it."""
        folder.mkdir(exist_ok=True)
        self._config, self._log = folder / "config.yaml", folder / "log"
        self._config.write_text(json.dumps(configuration))

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "smtp_router", "serve", "--log-format", "json"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the command above
                [*command, "-c", str(self._config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )
        self.port = self._port()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def resident_bytes(self) -> int:
        """Its memory in RAM."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    @property
    def cpu_s(self) -> float:
        """Its CPU time so far."""
        times = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / 100

    def doubts(self) -> Iterator[dict[str, Any]]:
        """The log's entries that doubt something."""
        with self._log.open() as lines:
            for line in lines:
                if '"in_doubt"' in line:
                    yield json.loads(line)

    def count(self, text: str) -> int:
        """How many lines of the log have this in them."""
        with self._log.open() as lines:
            return sum(text in line for line in lines)

    def _port(self) -> int:
        end = time.monotonic() + START_S
        while _STARTED not in (text := self._log.read_text()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the router did not start: {text}")
            time.sleep(0.05)
        return int(text.partition(_STARTED)[2].partition('"')[0])
