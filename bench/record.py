"""What was measured, as JSON, with all that it depends on."""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.contestants import ROOT

FOLDER = ROOT / "bench" / "results"
DISTRIBUTIONS = ("aiosmtpd", "aiosmtplib", "pluggy", "pydantic", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one message takes, counted.

    Args:
        bytecodes: instructions of Python's virtual machine.
        calls: of functions, those in C included.
        instructions: of the processor, in user mode; `None`: could not be counted.
    """

    bytecodes: float
    calls: float
    instructions: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was measured, where and when.

    Args:
        date: when, in UTC.
        commit: of the working copy, with a + if it was changed since.
        machine: processor, cores and system.
        load: how busy it was (the load average over a minute).
        python: its kind and version; bytecodes are alike where these are.
        build: what the processor's instructions depend on.
        versions: of third parties.
        cpu: by case and contestant, as `bench.cost` has it.
        counts: by case.
    """

    date: str
    commit: str
    machine: str
    load: float
    python: str
    build: str
    versions: Mapping[str, str]
    cpu: Mapping[str, Mapping[str, Mapping[str, Any]]]
    counts: Mapping[str, Counted]


def make(
    *,
    cpu: Mapping[str, Mapping[str, Any]] | None = None,
    counts: Mapping[str, Counted] | None = None,
) -> Record:
    """A record of now and here.

    Args:
        cpu: rows that are dataclasses, by case and contestant.
        counts: by case.
    """
    return Record(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine=f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 1),
        python=python(),
        build="; ".join((sys.version, *platform.libc_ver(), version("uvloop"), _processor())),
        versions={name: version(name) for name in DISTRIBUTIONS},
        cpu={
            case: {name: dataclasses.asdict(row) for name, row in rows.items()}
            for case, rows in (cpu or {}).items()
        },
        counts=counts or {},
    )


def python() -> str:
    """Which Python this is, as in `CPython 3.11`."""
    return f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"


def baseline_file() -> Path:
    """Where the record is that this Python's are compared with."""
    return FOLDER / f"baseline-{python().replace(' ', '-').lower()}.json"


def write(file: Path, record: Record) -> None:
    """Write it."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")


def read(file: Path) -> Record:
    """Read what was written.

    Raises:
        OSError: it is not there.
        ValueError, TypeError: it is something else.
    """
    found = json.loads(file.read_text())
    counts = {case: Counted(**counted) for case, counted in found.pop("counts").items()}
    return Record(**found, counts=counts)


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"
    head = [git, "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    return subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _processor() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
