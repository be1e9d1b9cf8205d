"""All that the workers of one machine count together.

| what | for |
|---|---|
| `names` | what the configuration names: limits, users' rates, users' sessions |
| `strangers` | addresses: their connections, their failed logins |
| `open`, `octets` | how many connections and how much content each worker has |
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.table import IN_A_SET, Table

_STRANGERS = 512
"""Sets of strangers: 32,768 addresses, of which those that nobody needs are forgotten first."""
_LEAST = 64
_COLUMN = 8  # words of a worker: a cache line, which no two processes write to
_OPEN, _OCTETS = range(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the memory is laid out.

    Args:
        workers: how many there are.
        sets: of names.
    """

    workers: int
    sets: int

    @classmethod
    def of(cls, workers: int, names: int) -> Self:
        """The plan for so many names: with room for as many again, and a reload may bring more."""
        return cls(workers=workers, sets=max(_LEAST, 2 * names // IN_A_SET))

    @property
    def words(self) -> int:
        """How many words it takes."""
        names = Table.size(sets=self.sets, workers=self.workers, windows=3)
        strangers = Table.size(sets=_STRANGERS, workers=self.workers, windows=1)
        return self.workers * _COLUMN + names + strangers

    def told(self) -> dict[str, Any]:
        """As JSON has it; the constructor takes it."""
        return asdict(self)


class Together:
    """One worker's hand in it."""

    def __init__(self, memory: SharedMemory, plan: Plan, worker: int) -> None:
        """See the module.

        Args:
            memory: all 0, or in use by others.
            plan: how it is laid out.
            worker: which one this is, from 0 on.
        """
        self.memory = memory
        self._words = memory.words
        self._ends = plan.workers * _COLUMN
        self._mine = worker * _COLUMN
        at = self._ends
        self.names = Table(memory, at=at, sets=plan.sets, workers=plan.workers, windows=3, worker=worker)
        at += Table.size(sets=plan.sets, workers=plan.workers, windows=3)
        self.strangers = Table(
            memory, at=at, sets=_STRANGERS, workers=plan.workers, windows=1, worker=worker
        )

    def has_open(self, connections: int) -> int:
        """Say how many connections this worker has; how many all have."""
        self._words[self._mine + _OPEN] = connections
        return sum(self._words[_OPEN : self._ends : _COLUMN])

    def has_octets(self, octets: int) -> None:
        """Say how much content this worker has in memory."""
        self._words[self._mine + _OCTETS] = octets

    def octets(self) -> int:
        """How much all have."""
        return sum(self._words[_OCTETS : self._ends : _COLUMN])

    def free(self, worker: int) -> None:
        """Let go of all that a worker had that has died; for its parent."""
        for word in range(worker * _COLUMN, (worker + 1) * _COLUMN):
            self._words[word] = 0
        self.names.free(worker)
        self.strangers.free(worker)
