"""A rest that a reply has asked for: `try again in 300 seconds`, or a rule that says so."""

import math

NEVER = -math.inf


class Rest:
    """For how long one user's mail is not brought to one account; all others notice nothing."""

    __slots__ = ("__weakref__", "asked_at", "because", "until")

    def __init__(self) -> None:
        """Nobody has asked for one."""
        self.until = NEVER
        self.asked_at = NEVER
        """When it was asked for last; minus infinity, if not since the last delivery."""
        self.because = ""

    def ask(self, seconds: float, now: float, because: str = "") -> bool:
        """Rest for so long; whether it did not rest already."""
        self.because = because
        begins = now >= self.until
        self.until = max(self.until, now + seconds)
        self.asked_at = now
        return begins

    def delivered(self, began: float) -> bool:
        """End it, if a message was taken that was sent after it was asked for; whether it was."""
        if self.asked_at == NEVER or began < self.asked_at:
            return False
        self.until = self.asked_at = NEVER
        return True
