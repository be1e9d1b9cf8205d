"""What would become of a message: the real router and the real plugins, and a sender that sends nothing.

Each attempt fails as a downstream does that cannot be reached, so the attempts are the order in which
failures would have them tried. Plugins are not told of these attempts, which there never were.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.core.message import Message
from smtp_router.core.outcome import Deferred, Outcome, Stage
from smtp_router.core.trace import Trace
from smtp_router.routing.epoch import Epoch
from smtp_router.routing.frozen import FrozenTarget
from smtp_router.routing.journal import Journal
from smtp_router.routing.router import Router
from smtp_router.routing.traces import Traces

NOT_SENT = Deferred(stage=Stage.CONNECT, reason="nothing was sent")


async def explain(
    epoch: Epoch,
    message: Message,
    clock: Clock,
    *,
    told: Mapping[str, Mapping[str, object]] | None = None,
    canary: bool = False,
) -> Trace:
    """Route a message without sending it.

    Args:
        epoch: settings and plugins.
        message: of one of the epoch's users.
        clock: time.
        told: how the user's downstreams fare at a router that is running, by name; see
            `smtp_router.routing.status`.
        canary: whether the user's candidate is to choose, and not the algorithm.
    """
    route = epoch.routes[message.user]
    targets = {
        name: FrozenTarget(target, told[name]) if told and name in told else target
        for name, target in route.targets.items()
    }
    chosen = route.canary.chains if canary and route.canary else route.chains
    mine = replace(
        route,
        targets=MappingProxyType(targets),
        chains=replace(chosen, after=()),
        shadow=None,
        canary=None,
    )
    traces = Traces()
    router = Router(
        _One(replace(epoch, routes=MappingProxyType({message.user: mine}))),
        _Nobody(),
        clock,
        chance=lambda: 0.0,
        journal=_Silence(),
        traces=traces,
    )
    await router.route(message)
    (trace,) = traces.find("")
    return trace


class _One:
    """An epoch that stays."""

    def __init__(self, epoch: Epoch) -> None:
        self.current = epoch

    async def refresh(self) -> Epoch:
        return self.current


class _Nobody:
    """Sends nothing."""

    async def send(
        self,
        message: Message,
        downstream: DownstreamSettings,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None],
    ) -> Outcome:
        del self, message, downstream, settings, until, deadline, on_final
        return NOT_SENT


class _Silence(Journal):
    """A journal that nobody reads."""

    def writes(self, level: int) -> bool:
        del self, level
        return False

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """Forget it."""
