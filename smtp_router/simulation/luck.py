"""What chance has in store for a message at a downstream: the same, whoever sends it there and when.

So two algorithms that are compared meet the same luck (common random numbers), and what is different
between them is not the dice. It is drawn by hashing the message's id and the downstream's name.
"""

import math
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

_DRAWS = Struct("<QQQ")
_SHIFT, _SCALE = 11, 2.0**-53
_TURN = 2 * math.pi


class Luck(NamedTuple):
    """Three independent draws."""

    chance: float
    """From 0 to 1, any as likely as any other."""
    transaction: float
    """Standard normal."""
    opening: float
    """Standard normal."""


class Lottery:
    """Draws."""

    def __init__(self, seed: int, downstream: str) -> None:
        """All draws follow from the seed.

        Args:
            seed: any number.
            downstream: for whose messages.
        """
        self._hash = blake2b(str(seed).encode(), digest_size=_DRAWS.size)
        self._hash.update(b"\0" + downstream.encode() + b"\0")

    def draw(self, message_id: str) -> Luck:
        """The luck of a message."""
        drawn = self._hash.copy()
        drawn.update(message_id.encode())
        first, second, third = _DRAWS.unpack(drawn.digest())
        # Two uniform numbers make two normal ones (Box and Muller, 1958).
        radius = math.sqrt(-2.0 * math.log(1.0 - (first >> _SHIFT) * _SCALE))
        angle = _TURN * ((second >> _SHIFT) * _SCALE)
        return Luck((third >> _SHIFT) * _SCALE, radius * math.cos(angle), radius * math.sin(angle))
