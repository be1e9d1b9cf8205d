"""Who shares a gauge with whom."""

from collections.abc import Hashable
from weakref import WeakValueDictionary

from smtp_router.config.settings import Downstream
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.health import Gauge

_OF_THE_ENTRY = frozenset({"name", "options"})
"""What an entry of the configuration says about itself, not about the server or the login there."""
_OF_THE_LOGIN = frozenset({"user", "password"})


class Gauges:
    """The gauges in use, found by the settings they belong to.

    All epochs have the same ones, so what does not change keeps its state, and what nobody uses any more
    is forgotten.
    """

    def __init__(self) -> None:
        """None is in use."""
        self._circuits: WeakValueDictionary[Hashable, Circuit] = WeakValueDictionary()
        self._gauges: WeakValueDictionary[Hashable, Gauge] = WeakValueDictionary()

    def of(self, settings: Downstream, window_s: float) -> Gauge:
        """The gauge of a downstream.

        Args:
            settings: whose.
            window_s: how far rates reach back, in seconds, if there is none yet.
        """
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
