"""Sticky: what belongs together goes to the same downstream.

By rendezvous hashing (highest random weight): each downstream draws a number from a hash of its own
name and the message's key, and the best draw wins. Nothing is remembered, so all routers with the
same configuration choose the same, also after a restart. A downstream that is lost leaves every other
draw as it was: only what it had moves, to the second best. One that is added takes only what it wins.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence

from smtp_router import Downstream, Message, hookimpl

__all__ = ["Sticky"]

_FIELD_NAME = re.compile(r"[!-9;-~]+")
"""Printable US-ASCII without space and colon (RFC 5322 3.6.8)."""

_MAX_WEIGHT = 1_000_000

_DRAWS = 2**52
"""How many different draws there are: as many as a float can tell apart with a half added."""


class Sticky:
    """Chooses by what a message has in common with others; keeps no state.

    Args:
        by: `recipient_domain` (of the first recipient), `sender`, or `{header: NAME}` (its first field
            of that name).

    Raises:
        ValueError: `by` is nothing of that kind.
    """

    def __init__(self, by: str | Mapping[str, object] = "recipient_domain") -> None:
        if isinstance(by, Mapping) and set(by) == {"header"}:
            header = by["header"]
            if not isinstance(header, str) or not _FIELD_NAME.fullmatch(header):
                message = f"by.header must be the name of a header field, not {header!r}"
                raise ValueError(message)
            self._header = header
        elif by not in ("recipient_domain", "sender"):
            message = f"by must be recipient_domain, sender or {{header: NAME}}, not {by!r}"
            raise ValueError(message)
        self._by = by

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        """Choose the best draw among those offered; a standby, if there are only standbys.

        Args:
            message: what it belongs to decides.
            downstreams: those still worth trying for this message, at least one.

        Returns:
            One of `downstreams`.
        """
        # Without a key there is nothing to stick to: each such message draws for itself.
        key = self._key(message) or f"\0{message.id}"
        return max(downstreams, key=lambda downstream: _draw(downstream, key))

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        """Read every weight once, so that no message is the first to find a wrong one.

        Raises:
            ValueError: a downstream's weight is wrong; names it.
        """
        for downstream in downstreams:
            _weight(downstream)

    def _key(self, message: Message) -> str:
        match self._by:
            case "recipient_domain":
                return message.rcpt_tos[0].rpartition("@")[2].lower()
            case "sender":
                return message.mail_from.lower()
            case _:
                return (message.headers.get(self._header) or "").strip()


def _draw(downstream: Downstream, key: str) -> tuple[bool, float]:
    """The downstream's draw; any draw of a standby is below all others.

    It is the logarithm of an even draw, divided by the weight. So each has the best one as often as its
    weight says, and a weight that changes leaves the draws of all others as they were.
    """
    weight = _weight(downstream)
    text = f"{downstream.name}\0{key}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest(), "big") % _DRAWS
    return weight > 0, math.log((number + 0.5) / _DRAWS) / (weight or 1)


def _weight(downstream: Downstream) -> float:
    value = downstream.options.get("weight", 1)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_WEIGHT:
        return value
    where = f"downstream {downstream.name}: options.weight"
    message = f"{where} must be a number from 0 to {_MAX_WEIGHT}, not {value!r}"
    raise ValueError(message)
