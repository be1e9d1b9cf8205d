"""How everything fares now, as JSON has it: for `smtp-router status`, and for `explain`."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from smtp_router.core.clock import Clock
from smtp_router.routing.epoch import Epoch, Route
from smtp_router.routing.reasons import why_not
from smtp_router.routing.target import Target

IN_A_TURN = 50
"""Users in one turn of the event loop; there may be ten thousand."""


async def status(epoch: Epoch, clock: Clock, user: str | None = None) -> Mapping[str, object]:
    """The epoch at work, and how all its downstreams fare.

    Args:
        epoch: the one at work.
        clock: time.
        user: only this one; by default all.
    """
    routes = epoch.routes if user is None else {user: epoch.routes[user]} if user in epoch.routes else {}
    users = {}
    for position, (login, route) in enumerate(routes.items(), 1):
        users[login] = _route(route, clock.now())
        if position % IN_A_TURN == 0:
            await asyncio.sleep(0)
    return {"epoch": epoch.number, "users": users}


def _route(route: Route, now: float) -> Mapping[str, object]:
    shadow, canary = route.shadow, route.canary
    return {
        "algorithm": route.user.algorithm.use,
        "downstreams": {name: _target(target, now) for name, target in route.targets.items()},
        "shadow": {"plugin": shadow.plugin.name, **shadow.counts.told()} if shadow else None,
        "canary": {"plugin": canary.plugin.name, "percent": 100 * canary.share} if canary else None,
    }


def _target(target: Target, now: float) -> Mapping[str, object]:
    return {
        "server": str(target.settings.addr),
        "has_room": target.has_room(now),
        "rests": target.is_resting(now),
        "left_out": why_not(target, now),
        "health": asdict(target.seen(now).health),
    }
