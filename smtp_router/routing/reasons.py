"""Why a downstream was not offered to the plugins, in words: for traces."""

import math
from collections.abc import Collection, Mapping, Sequence

from smtp_router.core.downstream import Downstream
from smtp_router.core.outcome import Attempt
from smtp_router.core.trace import LeftOut
from smtp_router.routing.frozen import FrozenTarget
from smtp_router.routing.target import Target

_PREFERRED = "another one may have the message already, and is tried first"
_SPANS: Mapping[float, str] = {1.0: "second", 60.0: "minute", 3600.0: "hour"}


def left_out(
    targets: Mapping[str, Target],
    offered: Collection[Downstream],
    attempts: Sequence[Attempt],
    now: float,
) -> Sequence[LeftOut]:
    """Which of a user's downstreams were not offered, and why.

    Args:
        targets: all of them.
        offered: those that were.
        attempts: what was tried for this message.
        now: the present instant.
    """
    there = {one.name for one in offered}
    tried = {attempt.downstream.name for attempt in attempts}
    return [
        LeftOut(name, "tried already" if name in tried else why_not(target, now) or _PREFERRED)
        for name, target in targets.items()
        if name not in there
    ]


def why_not(target: Target, now: float) -> str:
    """Why a downstream is not offered now; empty if it is, as far as it is its own doing."""
    if isinstance(target, FrozenTarget):
        return target.why
    if not target.has_room(now):
        return f"limit used up: {_limit(target, now)}"
    return _rest(target, now) if target.is_resting(now) else ""


def _limit(target: Target, now: float) -> str:
    for quota in target.quotas:
        if not quota.has_room():
            return f"{quota}, {_wait(quota.seconds_left())}"
    assert target.meter is not None
    concurrency = target.limits.concurrency
    if concurrency is not None and target.meter.in_flight >= concurrency:
        return f"{concurrency} at the same time"
    shut = (
        f"{count} per {_SPANS[seconds]}, {_wait(opens_at - now)}"
        for seconds, count, opens_at in target.meter.windows(target.limits, now)
        if opens_at > now
    )
    return next(shut, "until just now")  # another worker has made room since


def _rest(target: Target, now: float) -> str:
    until, because = target.resting(now)
    why = f": {because}" if because else ""
    if until <= now:
        return f"is being tried again, and as many messages as may try are at it{why}"
    return f"rests, {_wait(until - now)}{why}"


def _wait(seconds: float) -> str:
    return "for good" if math.isinf(seconds) else f"for {math.ceil(seconds)} s more"
