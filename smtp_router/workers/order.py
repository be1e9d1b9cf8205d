"""What a worker is told before it begins; one line of JSON on its standard input."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from smtp_router.shared.together import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to begin.

    Args:
        config: the configuration file.
        log_format: as for the parent.
        log_level: the same.
        worker: which one it is, from 0 on.
        plan: of the shared memory.
        memory: its descriptor.
        line: the descriptor of the line to the parent.
        listening: the descriptors of what each listener listens on.
    """

    config: Path
    log_format: str
    log_level: str
    worker: int
    plan: Plan
    memory: int
    line: int
    listening: Sequence[Sequence[int]]

    @property
    def inherited(self) -> frozenset[int]:
        """All descriptors."""
        return frozenset({self.line, self.memory, *(each for one in self.listening for each in one)})

    def of(self, worker: int) -> Self:
        """The same for this worker."""
        return replace(self, worker=worker)

    def written(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self), default=str).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """What was sent."""
        said = json.loads(line)
        return cls(**said | {"config": Path(said["config"]), "plan": Plan(**said["plan"])})
