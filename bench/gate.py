"""Whether it has become slower: a record beside the one that was committed.

What is compared is what was counted, which is steady; CPU time is not, on a machine that does anything
else. Python's own counts are compared where its version is the same, the processor's where the whole
build is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.record import Record

MOST = 1.15
"""What a message may take, of what it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one case.

    Args:
        case: which.
        figure: what was counted.
        before: per message, in the baseline.
        now: per message.
    """

    case: str
    figure: str
    before: float
    now: float

    @property
    def ratio(self) -> float:
        """Of what it was."""
        return self.now / self.before

    @property
    def is_regression(self) -> bool:
        """Whether it is too much."""
        return self.ratio > MOST


def compare(now: Record, baseline: Record) -> Iterator[Change]:
    """Every figure that can be compared."""
    figures = [("bytecodes", now.python == baseline.python), ("calls", now.python == baseline.python)]
    figures.append(("instructions", now.build == baseline.build))
    for case, counted in now.counts.items():
        known = baseline.counts.get(case)
        for figure, is_alike in figures:
            before = getattr(known, figure, None)
            after = getattr(counted, figure)
            if is_alike and before and after:
                yield Change(case=case, figure=figure, before=before, now=after)
