"""What an algorithm does about an outage: when it leaves a downstream, and when it comes back."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from smtp_router.config.behaviour import Outage
from smtp_router.core.outcome import Delivered, Outcome

TURNS = 20
"""Who was passed over for so many turns that would have been its own, has been left."""


class OutageWatch:
    """Watches one outage of one downstream."""

    def __init__(
        self, downstream: str, outage: Outage, *, since: float = 0.0, to: float = math.inf
    ) -> None:
        """It has not begun yet.

        Args:
            downstream: whose.
            outage: which; as long before and after it attempts are counted, to compare.
            since: when the one before it ended, where counting begins at the earliest.
            to: when the next one begins, where it ends at the latest.
        """
        self.downstream = downstream
        self.outage = outage
        length = outage.end - outage.begin
        self._since, self._to = max(outage.begin - length, since), min(outage.end + length, to)
        self.before: Counter[str] = Counter()
        self.during: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        """How often each downstream was chosen."""
        self.failed = 0
        """Attempts there that began during the outage and failed."""
        self.left_at = math.inf
        """The last time that it was chosen, before it was left."""
        self.back_at = math.inf
        """When it took a message again, behind the outage's end."""
        self._last = outage.begin
        self._passed_over = 0

    def begins(self, downstream: str, now: float) -> None:
        """A downstream was chosen."""
        if not self._since <= now < self._to:
            return
        if now < self.outage.begin:
            self.before[downstream] += 1
        elif now < self.outage.end:
            self.during[downstream] += 1
            self._watch(downstream, now)
        else:
            self.after[downstream] += 1

    def ended(self, downstream: str, outcome: Outcome, began: float, now: float) -> None:
        """An attempt has ended."""
        if downstream != self.downstream or began < self.outage.begin:
            return
        if began < self.outage.end:
            self.failed += not isinstance(outcome, Delivered)
        elif self.back_at == math.inf and isinstance(outcome, Delivered):
            self.back_at = now

    def _watch(self, downstream: str, now: float) -> None:
        if downstream == self.downstream:
            self._passed_over = 0
            self._last = now
            return
        self._passed_over += 1
        usual = share(self.before, self.downstream)
        if self.left_at == math.inf and usual and self._passed_over >= TURNS / usual:
            self.left_at = self._last


class OutageWatches:
    """All outages of a scenario; see `smtp_router.simulation.sender.Watcher`."""

    def __init__(self, all_of_them: Sequence[OutageWatch]) -> None:
        """None has begun yet."""
        self.all = all_of_them

    def begins(self, downstream: str, now: float) -> None:
        """A downstream was chosen."""
        for watch in self.all:
            watch.begins(downstream, now)

    def ended(self, downstream: str, outcome: Outcome, began: float, now: float) -> None:
        """An attempt has ended."""
        for watch in self.all:
            watch.ended(downstream, outcome, began, now)


def watches(downstream: str, outages: Iterable[Outage]) -> list[OutageWatch]:
    """One for each outage of a downstream."""
    in_order = sorted(outages, key=lambda outage: outage.begin)
    ends = [0.0, *(outage.end for outage in in_order)]
    begins = [*(outage.begin for outage in in_order[1:]), math.inf]
    return [
        OutageWatch(downstream, outage, since=since, to=to)
        for outage, since, to in zip(in_order, ends, begins, strict=False)
    ]


def share(chosen: Counter[str], downstream: str) -> float:
    """Which part of the attempts was at a downstream; 0 of none."""
    total = chosen.total()
    return chosen[downstream] / total if total else 0.0
