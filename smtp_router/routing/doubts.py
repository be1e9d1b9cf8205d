"""Messages that may have arrived although their client does not know it, or does not know it for sure.

A client that got no answer, or a 4yz, sends its message again. Then it is found here, for `in_doubt_s`:

| what happened the first time | what happens the second time |
|---|---|
| a downstream took it, and its client was gone before it could be told | `250`, nothing is delivered |
| the connection to a downstream was lost behind the final dot | that one is tried first, and logged |
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from smtp_router.core.fingerprint import Outline, fingerprint, outline
from smtp_router.core.message import Message

MAX_KEPT = 10_000
"""More than that, and the oldest is forgotten."""


class Kind(StrEnum):
    """What is not known, and to whom."""

    UNHEARD = "unheard"
    """It was delivered; its client does not know."""
    IN_DOUBT = "in_doubt"
    """Nobody knows whether it was delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One such message.

    Args:
        fingerprint: which.
        outline: which, at a glance.
        kind: what is not known.
        id: the router's id, the first time.
        downstream: the name of the one that has or may have it.
        until: the instant (seconds since the epoch) at which it is forgotten.
    """

    fingerprint: str
    outline: Outline
    kind: Kind
    id: str
    downstream: str
    until: float


class Store(Protocol):
    """Keeps doubts where they outlive the process."""

    async def add(self, doubt: Doubt) -> None:
        """Keep one."""
        ...

    async def remove(self, doubt: Doubt) -> None:
        """Forget one."""
        ...


class Doubts:
    """The doubts there are; memory that the router asks for each message."""

    def __init__(self, wall: Callable[[], float], known: Iterable[Doubt] = ()) -> None:
        """Begin with what is known already.

        Args:
            wall: the present, in seconds since the epoch: doubts outlive the process.
            known: doubts of earlier, the oldest first.
        """
        self._wall = wall
        self._kept: OrderedDict[str, Doubt] = OrderedDict()
        self._outlines: Counter[Outline] = Counter()
        for doubt in known:
            self._keep(doubt)

    def add(self, message: Message, kind: Kind, downstream: str, *, for_s: float) -> Doubt:
        """Remember a message for so many seconds."""
        doubt = Doubt(
            fingerprint=fingerprint(message),
            outline=outline(message),
            kind=kind,
            id=message.id,
            downstream=downstream,
            until=self._wall() + for_s,
        )
        self._keep(doubt)
        return doubt

    def find(self, message: Message) -> Doubt | None:
        """The doubt about a message that was here before.

        The content is read only if everything else is the same: it costs nothing as long as there is
        nothing to find.
        """
        if not self._outlines or outline(message) not in self._outlines:
            return None
        doubt = self._kept.get(fingerprint(message))
        if doubt is not None and doubt.until <= self._wall():
            self.remove(doubt)
            return None
        return doubt

    def remove(self, doubt: Doubt) -> None:
        """It is known now."""
        if self._kept.get(doubt.fingerprint) is not None:
            self._drop(doubt.fingerprint)

    def _keep(self, doubt: Doubt) -> None:
        if doubt.fingerprint in self._kept:
            self._drop(doubt.fingerprint)
        self._kept[doubt.fingerprint] = doubt
        self._outlines[doubt.outline] += 1
        now = self._wall()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.until > now and len(self._kept) <= MAX_KEPT:
                break
            self._drop(oldest.fingerprint)

    def _drop(self, key: str) -> None:
        dropped = self._kept.pop(key)
        self._outlines[dropped.outline] -= 1
        if not self._outlines[dropped.outline]:
            del self._outlines[dropped.outline]
