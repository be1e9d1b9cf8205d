"""The router as it is run, `smtp-router serve`: configured by a mapping, measured from outside."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.contestants import ROOT
from bench.peers import Peer

START_S = 20.0


@contextmanager
def serving(folder: Path, name: str, settings: Mapping[str, object], *options: str) -> Iterator[Peer]:
    """A router that listens on one port of 127.0.0.1.

    Args:
        folder: for its configuration, its log, and what the configuration names.
        name: of these files, and for tables.
        settings: the configuration; where it listens and keeps its state is said here.
        options: of `serve`.

    Raises:
        RuntimeError: it does not start.
    """
    file, output = folder / f"{name}.yaml", folder / f"{name}.log"
    here = {"listen": [{"addr": "127.0.0.1:0"}], "control": None, "state": f"{name}.db"}
    file.write_text(json.dumps({**here, **settings}))
    command = [sys.executable, "-m", "smtp_router", "serve", "-c", str(file), *options]
    with output.open("wb") as written, subprocess.Popen(command, cwd=ROOT, stderr=written) as process:
        try:
            yield Peer(name=name, port=_port(process, output), root=process.pid)
        finally:
            process.terminate()


def _port(process: subprocess.Popen[bytes], output: Path) -> int:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", output.read_text(errors="replace"))
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"it does not start:\n{output.read_text(errors='replace')[-2000:]}")
