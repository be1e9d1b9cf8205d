"""How much of what a process has leased it has used: numbers that outlive it, for a system call each.

A number is written before the final dot of a message goes out, on the event loop: eight octets at a
place that is there already, into the system's cache, which takes a microsecond. SQLite would take a
hundred, and another thread. The system keeps what was written when the process is killed, and gives up
the lock that says that it lives.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

_OCTETS = 8


class Tally:
    """The numbers of this process."""

    def __init__(self, state: Path) -> None:
        """Make the file, beside the state file.

        Raises:
            OSError: it cannot be made.
        """
        while True:
            self.process = secrets.token_hex(8)
            path = _path(state, self.process)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if path.exists():
                break
            os.close(self._file)  # another process has cleared it away before it was locked
        self._path = path

    def write(self, slot: int, number: int) -> None:
        """Set a number.

        Raises:
            OSError: the disk does not take it.
        """
        os.pwrite(self._file, number.to_bytes(_OCTETS, "little"), slot * _OCTETS)

    def close(self, *, keep: bool) -> None:
        """This process has ended, as far as the numbers go.

        Args:
            keep: whether somebody else has to see them yet.
        """
        if not keep:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def numbers_of_the_dead(state: Path, process: str) -> dict[int, int] | None:
    """The numbers that another process has left, by slot, if it has ended.

    Raises:
        FileNotFoundError: they are lost.
    """
    with _path(state, process).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        octets = file.read()
    return {
        start // _OCTETS: int.from_bytes(octets[start : start + _OCTETS], "little")
        for start in range(0, len(octets), _OCTETS)
    }


def clear_away(state: Path, needed: set[str]) -> None:
    """Remove what processes that have ended have left, but for those whose numbers are needed."""
    for path in state.parent.iterdir():
        name, _, process = path.name.rpartition("-")
        if name == f"{state.name}-tally" and process not in needed:
            with suppress(FileNotFoundError):
                if numbers_of_the_dead(state, process) is not None:
                    path.unlink()


def _path(state: Path, process: str) -> Path:
    return state.with_name(f"{state.name}-tally-{process}")
