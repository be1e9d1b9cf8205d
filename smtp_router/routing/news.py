"""What one worker has found out about a downstream, and the others want to know.

A worker says where it was (whose downstream, by which name), and the others find there what they share:
the server's circuit, the account's, the user's rest. Nothing that is secret has to be named for that.
"""

from collections.abc import Mapping
from typing import Any

from smtp_router.core.blame import Blame
from smtp_router.routing.epoch import Epoch
from smtp_router.routing.health import Change
from smtp_router.routing.target import Target

News = Mapping[str, Any]
"""As JSON has it. Instants are of the clock that all processes of a machine have."""


def news_of(target: Target, change: Change) -> News | None:
    """What to say of a change; nothing where each has to see for itself."""
    news: dict[str, Any] = {
        "user": target.user,
        "downstream": target.settings.name,
        "whose": change.whose,
        "until": change.rests_until,
    }
    if change.whose is Blame.USER:
        return news | {"because": target.rest.because}
    if change.rests_until is None:  # somebody has got through: so will the others, one at a time
        return None
    circuit = target.gauge.circuit(change.whose)
    return news | {"rests": circuit.breaker.rests, "because": circuit.because}


def hear(epoch: Epoch, news: News, now: float) -> None:
    """Do as the neighbour does. A downstream that this epoch does not have is passed over."""
    route = epoch.routes.get(news["user"])
    target = route.targets.get(news["downstream"]) if route else None
    if target is None:
        return
    whose, until = Blame(news["whose"]), news["until"]
    if whose is not Blame.USER:
        target.gauge.hear(whose, until, news["rests"], news["because"], now)
    elif until is None:
        target.rest.delivered(now)
    elif until > now:
        target.rest.ask(until - now, now, news["because"])
