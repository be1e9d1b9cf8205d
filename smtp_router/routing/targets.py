"""What targets share: who has a gauge, a server's circuit or a meter in common."""

from collections.abc import Hashable
from weakref import WeakValueDictionary

from smtp_router.config.settings import Downstream
from smtp_router.core.breaker import Rules
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.health import Gauge
from smtp_router.routing.limits import Meter
from smtp_router.routing.target import Target

_OF_THE_ENTRY = frozenset({"name", "options", "limits"})
"""What an entry of the configuration says about itself, not about the server or the login there."""
_OF_THE_LOGIN = frozenset({"user", "password"})


class Targets:
    """Makes targets; what they share is found by the settings it belongs to.

    All epochs have the same one, so what does not change keeps its state, and what nobody uses any more
    is forgotten.
    """

    def __init__(self) -> None:
        """Nothing is in use."""
        self._circuits: WeakValueDictionary[Hashable, Circuit] = WeakValueDictionary()
        self._gauges: WeakValueDictionary[Hashable, Gauge] = WeakValueDictionary()
        self._meters: WeakValueDictionary[str, Meter] = WeakValueDictionary()

    def make(self, user: str, settings: Downstream, rules: Rules) -> Target:
        """The target of one downstream of one user.

        Args:
            user: the user's login name.
            settings: the downstream's.
            rules: when it rests.
        """
        name = settings.limits.counted_as or f"{user}/{settings.name}"
        meter = self._meters.get(name)
        if meter is None:
            meter = self._meters[name] = Meter()
        meter.watch(settings.limits)
        return Target(user, settings, rules, gauge=self._gauge(settings, rules.window_s), meter=meter)

    def _gauge(self, settings: Downstream, window_s: float) -> Gauge:
        account = _without(settings, _OF_THE_ENTRY)
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
