"""What several workers say of themselves, put together as if one had said it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smtp_router.routing.traces import SHOWN

Told = Mapping[str, Any]

_WORSE = ("closed", "half_open", "open")


def traces(answers: Sequence[Sequence[Told]]) -> list[Told]:
    """The last ones of all, oldest first."""
    return sorted((one for told in answers for one in told), key=lambda one: str(one["time"]))[-SHOWN:]


def status(answers: Sequence[Told], *, workers: Sequence[Told], wanted: int) -> Told:
    """How all fare.

    Args:
        answers: of those who have answered.
        workers: those that there are, in their order.
        wanted: how many there should be.
    """
    users = (
        {
            login: _user([told["users"][login] for told in answers if login in told["users"]])
            for login in answers[0]["users"]
        }
        if answers
        else {}
    )
    return {
        "ready": sum(one["ready"] for one in workers) == wanted,
        "workers": workers,
        "epoch": max((told["epoch"] for told in answers), default=0),
        "users": users,
    }


def _user(told: Sequence[Told]) -> Told:
    shadows = [one["shadow"] for one in told if one["shadow"]]
    names = told[0]["downstreams"]
    return {
        **told[0],
        "downstreams": {
            name: _downstream([one["downstreams"][name] for one in told if name in one["downstreams"]])
            for name in names
        },
        "shadow": _summed(shadows) if shadows else None,
    }


def _summed(told: Sequence[Told]) -> Told:
    """Counts are summed; everything else is the same for all."""
    return {
        key: sum(one[key] for one in told) if isinstance(value, int) else value
        for key, value in told[0].items()
    }


def _downstream(told: Sequence[Told]) -> Told:
    """Offered if any worker offers it; the reason is that of the first that does not."""
    offers = [one for one in told if not one["left_out"]]
    shown = offers[0] if offers else told[0]
    health = [one["health"] for one in told]
    delivered = sum(one["delivered"] for one in health)
    return {
        **shown,
        "health": {
            **shown["health"],
            "state": max((one["state"] for one in health), key=_WORSE.index),
            "in_flight": sum(one["in_flight"] for one in health),
            "delivered": delivered,
            "failed": sum(one["failed"] for one in health),
            "consecutive_failures": max(one["consecutive_failures"] for one in health),
            "success_rate": _mean(health, "success_rate", lambda one: one["delivered"] + one["failed"]),
            "latency_s": _mean(health, "latency_s", lambda one: one["delivered"]),
            "p95_s": max(one["p95_s"] for one in health),
        },
    }


def _mean(told: Sequence[Told], key: str, weight: Callable[[Told], int]) -> float:
    weights = [weight(one) for one in told]
    total = sum(weights)
    if not total:
        return float(told[0][key])
    return float(sum(one[key] * each for one, each in zip(told, weights, strict=True)) / total)
