"""Round robin: the downstreams of a user take turns.

The turn is that of the downstream that was chosen least recently among those offered. While the
same downstreams are offered, that is round robin to the letter. Unlike a position in a list it
needs no care when they change: one that is left out (unhealthy, or already tried for this message)
moves nobody's turn, and one that is new or back is next, once.
"""

import itertools
import math
from collections.abc import Sequence

from smtp_router import Downstream, hookimpl

__all__ = ["RoundRobin"]


class RoundRobin:
    """Chooses the downstream that has waited longest; the router makes one instance per user."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)
        self._last_turn: dict[str, int] = {}

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        """Give the turn to the one chosen least recently; at first, in configuration order.

        Choosing uses the turn up, whether or not the delivery succeeds: if it fails, the same
        message is offered the others, and the one that has waited longest takes over.

        Args:
            downstreams: those still worth trying for this message, at least one.

        Returns:
            One of `downstreams`.
        """
        chosen, longest_ago = downstreams[0], math.inf
        for downstream in downstreams:  # `min` with a key takes three times as long
            turn = self._last_turn.get(downstream.name, 0)
            if turn < longest_ago:
                chosen, longest_ago = downstream, turn
        self._last_turn[chosen.name] = next(self._turns)
        return chosen
