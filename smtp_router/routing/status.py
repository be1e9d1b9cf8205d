"""How everything fares now, as JSON has it: for `smtp-router status`, and for `explain`."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from smtp_router.routing.epoch import Epoch, Route
from smtp_router.routing.reasons import why_not
from smtp_router.routing.target import Target


def status(epoch: Epoch, now: float, users: Iterable[str] = ()) -> Mapping[str, object]:
    """The epoch at work, and how all its downstreams fare.

    Args:
        epoch: the one at work.
        now: the present instant.
        users: only these; by default all.
    """
    wanted = set(users)
    return {
        "epoch": epoch.number,
        "users": {
            login: _route(route, now)
            for login, route in epoch.routes.items()
            if not wanted or login in wanted
        },
    }


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
