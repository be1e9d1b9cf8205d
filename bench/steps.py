"""What a process does, counted: exact where time is not, and the same on a busy machine."""

import sys
from types import FrameType
from typing import Any


class Steps:
    """How much Python has run since this was made, in the thread that made it.

    Counting makes everything some fifty times slower, so a clock says nothing meanwhile.
    """

    def __init__(self) -> None:
        """Begin to count."""
        self.bytecodes = 0
        """Instructions of Python's virtual machine."""
        self.calls = 0
        """Calls of functions, those in C included, and coroutines that go on."""
        sys.setprofile(self._on_call)
        sys.settrace(self._on_frame)

    def _on_call(self, frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        if event in ("call", "c_call"):
            self.calls += 1

    def _on_frame(self, frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 - itself
        del event, argument
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._on_bytecode

    def _on_bytecode(self, frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 - as above
        del frame, argument
        if event == "opcode":
            self.bytecodes += 1
        return self._on_bytecode
