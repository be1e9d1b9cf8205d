"""What the checks of wheels have in common: counting, running commands, expecting."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300
AT_ONCE = 2
"""How many programs run at once, where they share nothing: as many as CI has cores."""


class CheckError(Exception):
    """Something is not as it should be; the text says what."""


ENDS = (CheckError, AssertionError, OSError, ValueError, subprocess.SubprocessError)
"""What a check may end with."""


@dataclass(slots=True)
class Report:
    """Counts, and prints a line for each check."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def check(self, rule: str) -> Iterator[None]:
        """Count the block as passed, unless it raises an error that a check may end with."""
        try:
            yield
        except ENDS as error:
            self.failed.append(rule)
            print(f"  FAILED  {rule}\n{indented(str(error))}", flush=True)
        else:
            self.passed += 1
            print(f"  ok      {rule}", flush=True)


def run(
    *command: str | Path, cwd: Path = ROOT, stdin: str = "", env: Mapping[str, str] | None = None
) -> str:
    """Run a command that has to succeed.

    Args:
        command: the program and its arguments.
        cwd: where to run it.
        stdin: what it reads.
        env: its environment, in place of ours.

    Returns:
        What it wrote to standard output.

    Raises:
        CheckError: it failed; with all that it wrote.
    """
    return _done(0, *command, cwd=cwd, stdin=stdin, env=env).stdout


def expect_failure(code: int, *command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command that has to fail with this exit code; what it wrote to standard error."""
    return _done(code, *command, cwd=cwd).stderr


def _done(
    code: int,
    *command: str | Path,
    cwd: Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=env,
        input=stdin,
        timeout=TIMEOUT_S,
    )
    if done.returncode != code:
        words = " ".join(map(str, command))
        raise CheckError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def expect_equal(actual: object, expected: object) -> None:
    """Fail unless they are equal."""
    if actual != expected:
        raise CheckError(f"expected {expected!r}\n     got {actual!r}")


def expect_all(names: set[str], *wanted: str) -> None:
    """Fail for names that are missing."""
    if missing := [name for name in wanted if name not in names]:
        raise CheckError(f"missing: {', '.join(missing)}")


def expect_none(names: set[str], unwanted: Callable[[str], bool]) -> None:
    """Fail for names that have no place there."""
    if found := sorted(filter(unwanted, names)):
        raise CheckError(f"should not be there: {', '.join(found)}")


def indented(text: str) -> str:
    """The text, as a block below a line."""
    return "\n".join(f"          {line}" for line in text.rstrip().splitlines())
