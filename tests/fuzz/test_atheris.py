"""The fuzzer itself, for a few seconds per target."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz import AVAILABLE, MISSING
from tests.fuzz.targets import TARGETS
from tests.running import ROOT

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=MISSING)

RUNS = {"session": 1_000}
OTHER_RUNS = 10_000
LIMIT_S = 4
"""For a machine that is busy with other things; else the number of runs is reached first."""

PLANTED = """
import sys
from tests.fuzz import fuzz, targets

def planted(data):
    assert b"BDAT 1" not in data

targets.TARGETS = {"commands": planted}
fuzz.main(*sys.argv[1:])
"""


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    # It would measure the fuzzer, and slow it down.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, *arguments, "-seed=1"],
        cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=50, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    limits = (f"-runs={RUNS.get(name, OTHER_RUNS)}", f"-max_total_time={LIMIT_S}")
    run = fuzz("-m", "tests.fuzz.fuzz", name, str(tmp_path), *limits)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("*-*")}
    assert (run.returncode, found) == (0, {}), run.stderr[-3000:]
    assert "Done " in run.stderr


def test_what_breaks_something_is_found_and_left(tmp_path: Path) -> None:
    run = fuzz(
        "-c", PLANTED, "commands", str(tmp_path), "-runs=100000", f"-max_total_time={8 * LIMIT_S}"
    )
    assert run.returncode != 0
    (crash,) = tmp_path.glob("commands-crash-*")
    assert b"BDAT 1" in crash.read_bytes()
    assert "AssertionError" in run.stdout + run.stderr
