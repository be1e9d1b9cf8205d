"""What a process does, counted: exact where time is not, and the same on a busy machine."""

import sys
from threading import get_ident
from types import CodeType, FrameType
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
        self._thread = get_ident()
        sys.setprofile(self._on_call)
        if sys.version_info >= (3, 12):  # a trace function is not told of instructions there any more
            monitoring = sys.monitoring
            monitoring.use_tool_id(monitoring.PROFILER_ID, "steps")
            monitoring.register_callback(
                monitoring.PROFILER_ID, monitoring.events.INSTRUCTION, self._on_instruction
            )
            monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION)
        else:
            sys.settrace(self._on_frame)

    def _on_call(self, frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        if event in ("call", "c_call"):
            self.calls += 1

    def _on_instruction(self, code: CodeType, offset: int) -> None:
        del code, offset
        if get_ident() == self._thread:  # it hears of all threads
            self.bytecodes += 1

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
