"""A stream to which several processes write, whole lines each.

A pipe takes up to 4096 octets at once and tears more apart (pipe(7)), a file and a socket have rules of
their own. So whoever writes holds a lock meanwhile, which costs 1.4 µs for all the lines of one turn of
the event loop.
"""

import io
import os
from typing import TYPE_CHECKING, TextIO

from smtp_router.shared.memory import SharedMemory

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LOCK = 0
"""Which of the memory's locks it is; nothing else has that one."""


class Untorn(io.RawIOBase):
    """A descriptor that many have; what is written at once comes out in one piece."""

    def __init__(self, descriptor: int, memory: SharedMemory) -> None:
        """Write to this descriptor."""
        self._descriptor = descriptor
        self._memory = memory

    def writable(self) -> bool:
        """It is for nothing else."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether somebody sits there."""
        return os.isatty(self._descriptor)

    def write(self, octets: "ReadableBuffer", /) -> int:
        """Write all of it.

        Raises:
            OSError: it cannot be written, or not all of it.
        """
        left = memoryview(octets)
        size = left.nbytes
        self._memory.lock(LOCK)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        finally:
            self._memory.unlock(LOCK)
        return size


def untorn(descriptor: int, memory: SharedMemory) -> TextIO:
    """In place of `sys.stderr`."""
    buffered = io.BufferedWriter(Untorn(descriptor, memory))
    return io.TextIOWrapper(buffered, "utf-8", errors="backslashreplace", line_buffering=True)
