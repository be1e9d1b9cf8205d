"""Weighted: each downstream has its share of the messages, as the weights in the configuration say.

In mode `smooth` it is exact. Each downstream keeps a balance, in messages. Before each choice all
that are offered are credited their shares of one message; the highest balance is chosen, and pays
one. While the same ones are offered, all balances are zero again after as many messages as the weights
add up to, and nobody is ever a whole message ahead. Who is not offered is not credited either, and has
nothing to catch up with when it is back.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date

from smtp_router import Downstream, Message, hookimpl

__all__ = ["Weighted"]

_UNITS = 1_000_000
"""A weight is counted in millionths, so that 0.5 and a share of a warm-up add up exactly, too."""

_MAX_WEIGHT = 1_000_000

_FIRST_SHARE = 0.01
"""What share of its weight an exponential warm-up rises from."""


class Weighted:
    """Chooses by weight; the router makes one instance per user.

    Args:
        mode: `smooth` (exact, in turns) or `random` (on average; keeps no state).
        rng: draws in mode `random`; the router gives it, and a simulation a repeatable one.

    Raises:
        ValueError: another mode.
    """

    def __init__(self, mode: str = "smooth", *, rng: random.Random | None = None) -> None:
        if mode not in ("smooth", "random"):
            message = f"mode must be smooth or random, not {mode!r}"
            raise ValueError(message)
        self._random = (rng or random.Random()) if mode == "random" else None  # noqa: S311 - shares, no secret
        self._balances: dict[str, tuple[int, int]] = {}  # so many parts, and how many are a message

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        """Choose by weight among those offered; a standby, if there are only standbys.

        Args:
            message: when it was received decides how far a warm-up is.
            downstreams: those still worth trying for this message, at least one.

        Returns:
            One of `downstreams`.

        Raises:
            ValueError: the options of a downstream are wrong; names it.
        """
        today = message.received_at.astimezone(UTC).date()
        weights = [_weight(downstream, today) for downstream in downstreams]
        if not any(weights):
            return downstreams[0]
        if self._random:
            return self._random.choices(downstreams, weights)[0]
        return self._next_in_turn(downstreams, weights)

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        """Read every option once, so that no message is the first to find a wrong one.

        Raises:
            ValueError: the options of a downstream are wrong; names it.
        """
        for downstream in downstreams:
            _weight(downstream, date.min)

    def _next_in_turn(self, downstreams: Sequence[Downstream], weights: Sequence[int]) -> Downstream:
        total = sum(weights)
        credited = {
            downstream.name: self._balance(downstream.name, total) + weight
            for downstream, weight in zip(downstreams, weights, strict=True)
            if weight
        }
        chosen = max(credited, key=credited.__getitem__)
        credited[chosen] -= total
        self._balances.update((name, (balance, total)) for name, balance in credited.items())
        return next(downstream for downstream in downstreams if downstream.name == chosen)

    def _balance(self, name: str, total: int) -> int:
        """What it is owed, where `total` parts are one message."""
        balance, parts = self._balances.get(name, (0, total))
        return balance * total // parts


def _weight(downstream: Downstream, today: date) -> int:
    """What a downstream weighs on this day, in millionths; 0 for a standby."""
    where = f"downstream {downstream.name}: options"
    weight = _number(f"{where}.weight", downstream.options.get("weight", 1))
    warmup = downstream.options.get("warmup")
    if warmup is not None:
        weight *= _warmth(f"{where}.warmup", warmup, today)
    return max(1, round(weight * _UNITS)) if weight else 0


def _number(where: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_WEIGHT:
        return value
    message = f"{where} must be a number from 0 to {_MAX_WEIGHT}, not {value!r}"
    raise ValueError(message)


def _warmth(where: str, warmup: object, today: date) -> float:
    """Which part of its weight counts today, from 0 (not yet begun) to 1 (warm)."""
    if not isinstance(warmup, Mapping):
        message = f"{where} must be a mapping, as in {{from: 2026-01-31, days: 30}}, not {warmup!r}"
        raise ValueError(message)
    for key in warmup:
        if key not in ("from", "days", "curve"):
            message = f"{where}.{key} is not an option: it takes from, days, curve"
            raise ValueError(message)
    first, days, curve = warmup.get("from"), warmup.get("days"), warmup.get("curve", "linear")
    if type(days) is not int or days < 1:
        message = f"{where}.days must be a whole number from 1 on, not {days!r}"
        raise ValueError(message)
    if curve not in ("linear", "exponential"):
        message = f"{where}.curve must be linear or exponential, not {curve!r}"
        raise ValueError(message)
    day = (today - _date(f"{where}.from", first)).days + 1
    if day < 1:
        return 0
    part = min(day / days, 1)
    return part if curve == "linear" else _FIRST_SHARE ** (1 - part)


def _date(where: str, value: object) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        message = f"{where} must be a date, as in 2026-01-31, not {value!r}"
        raise ValueError(message) from None
