"""The bench of workers runs; no figure is looked at."""

import shutil

import pytest

from bench import workers


@pytest.mark.skipif(shutil.which("cc") is None, reason="the load is a program in C")
def test_the_bench_of_workers_runs(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--cases", "burnt", "--clients", "4", "--repetitions", "1", "--seconds", "0.05")
    assert workers.main(asked) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("burnt ")
