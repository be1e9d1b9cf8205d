"""The fuzzer itself, for a few seconds per target."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz import AVAILABLE, MISSING
from tests.fuzz.targets import TARGETS
from tests.running import ROOT

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=MISSING)

RUNS = 10_000
LIMIT_S = 4
"""For each target: whole sessions are slow, and so is a machine that is busy with other things."""
HANGS_S = 200

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
        cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=HANGS_S,
        check=False,
    )  # fmt: skip


@pytest.mark.timeout(HANGS_S)
def test_a_short_run_of_each_target_finds_nothing(tmp_path: Path) -> None:
    limits = (f"-runs={RUNS}", f"-max_total_time={LIMIT_S}")
    run = fuzz("-m", "tests.fuzz.fuzz", str(tmp_path), *TARGETS, *limits)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("*-*")}
    assert (run.returncode, found) == (0, {}), run.stderr[-3000:]
    steps = re.findall(r"^(fuzzing \w+|Done \d+)", run.stderr, re.MULTILINE)
    assert steps[::2] == [f"fuzzing {name}" for name in TARGETS]
    assert all(re.fullmatch(r"Done [1-9]\d+", step) for step in steps[1::2])


def test_what_breaks_something_is_found_and_left(tmp_path: Path) -> None:
    run = fuzz(
        "-c", PLANTED, str(tmp_path), "commands", "-runs=100000", f"-max_total_time={8 * LIMIT_S}"
    )
    assert run.returncode != 0
    (crash,) = tmp_path.glob("commands-crash-*")
    assert b"BDAT 1" in crash.read_bytes()
    assert "AssertionError" in run.stdout + run.stderr
