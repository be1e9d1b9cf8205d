"""What targets share: who has a gauge, a server's circuit or a meter in common."""

from collections.abc import Hashable
from weakref import WeakValueDictionary

from smtp_router.config.limits import Limits
from smtp_router.config.settings import Downstream, Settings
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.health import Gauge
from smtp_router.routing.limits import Meter
from smtp_router.routing.quotas import Quotas
from smtp_router.routing.rest import Rest
from smtp_router.routing.target import Target

_OF_THE_ENTRY = frozenset({"name", "options", "limits", "provider", "replies"})
"""What an entry of the configuration says about itself, not about the server or the login there."""
_OF_THE_LOGIN = frozenset({"user", "password", "auth"})


class Targets:
    """Makes targets; what they share is found by the settings it belongs to.

    All epochs have the same one, so what does not change keeps its state, and what nobody uses any more
    is forgotten.
    """

    def __init__(self, quotas: Quotas | None = None) -> None:
        """Nothing is in use.

        Args:
            quotas: by the day and the month; without them, these limits are not kept: for somebody who
                only looks, as `smtp-router check`.
        """
        self._quotas = quotas
        self._circuits: WeakValueDictionary[Hashable, Circuit] = WeakValueDictionary()
        self._gauges: WeakValueDictionary[Hashable, Gauge] = WeakValueDictionary()
        self._rests: WeakValueDictionary[Hashable, Rest] = WeakValueDictionary()
        self._meters: WeakValueDictionary[str, Meter] = WeakValueDictionary()

    def make(self, user: str, downstream: Downstream, settings: Settings) -> Target:
        """The target of one downstream of one user.

        Args:
            user: the user's login name.
            downstream: what is said of it.
            settings: all others.
        """
        name = downstream.limits.name(user, downstream.name)
        meter = None if downstream.limits == Limits() else self._meter(name, downstream.limits)
        rules = settings.health.rules
        account = _without(downstream, _OF_THE_ENTRY)
        gauge = self._gauge(account, downstream, rules.window_s)
        rest = self._rests.get((user, account))
        if rest is None:
            rest = self._rests[user, account] = Rest()
        quotas = [
            self._quotas.of(name, kind, limit)
            for kind, limit in settings.quotas.get(name, {}).items()
            if self._quotas is not None
        ]
        return Target(user, downstream, rules, gauge=gauge, rest=rest, meter=meter, quotas=quotas)

    def _meter(self, name: str, limits: Limits) -> Meter:
        meter = self._meters.get(name)
        if meter is None:
            meter = self._meters[name] = Meter()
        meter.watch(limits)
        return meter

    def _gauge(self, account: Hashable, settings: Downstream, window_s: float) -> Gauge:
        gauge = self._gauges.get(account)
        if gauge is None:
            server = _without(settings, _OF_THE_ENTRY | _OF_THE_LOGIN)
            circuit = self._circuits.get(server)
            if circuit is None:
                circuit = self._circuits[server] = Circuit(window_s)
            gauge = self._gauges[account] = Gauge(circuit, window_s)
        return gauge


def _without(settings: Downstream, keys: frozenset[str]) -> Hashable:
    return tuple(getattr(settings, key) for key in type(settings).model_fields if key not in keys)
