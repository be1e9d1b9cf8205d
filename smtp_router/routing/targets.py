"""What targets share: who has a gauge, a server's circuit or a meter in common."""

from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from weakref import WeakValueDictionary

from smtp_router.config.limits import NO_LIMITS
from smtp_router.config.settings import DOWNSTREAM_KEYS, Downstream, Settings
from smtp_router.core.breaker import Rules
from smtp_router.routing.circuit import Circuit
from smtp_router.routing.health import Change, Gauge
from smtp_router.routing.limits import Meter
from smtp_router.routing.quotas import Quota, Quotas
from smtp_router.routing.rest import Rest
from smtp_router.routing.shared_limits import SharedMeter
from smtp_router.routing.target import Target
from smtp_router.shared.table import Table

_OF_THE_ENTRY = {"name", "options", "limits", "provider", "replies"}
"""What an entry of the configuration says about itself, not about the server or the login there."""
_OF_THE_LOGIN = {"user", "password", "auth"}
_account = attrgetter(*sorted(DOWNSTREAM_KEYS - _OF_THE_ENTRY))
_server = attrgetter(*sorted(DOWNSTREAM_KEYS - _OF_THE_ENTRY - _OF_THE_LOGIN))


class Targets:
    """Makes targets; what they share is found by the settings it belongs to.

    All epochs have the same one, so what does not change keeps its state, and what nobody uses any more
    is forgotten.
    """

    def __init__(
        self,
        quotas: Quotas | None = None,
        *,
        names: Table | None = None,
        news: Callable[[Target, Change], None] | None = None,
    ) -> None:
        """Nothing is in use.

        Args:
            quotas: by the day and the month; without them, these limits are not kept: for somebody who
                only looks, as `smtp-router check`.
            names: where the workers of this machine count together; without it, this process counts.
            news: told whenever a downstream rests or is back.
        """
        self._quotas = quotas
        self._names = names
        self.news = news
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
        target = Target(
            user,
            downstream,
            settings.health.rules,
            shared=self,
            meter=None if downstream.limits == NO_LIMITS else self._meter(user, downstream),
            quotas=self._quotas_of(user, downstream, settings),
        )
        # What is known of its account must not be lost while nobody looks.
        if self._gauges and (gauge := self._gauges.get(_account(downstream))) is not None:
            target.gauge = gauge
        if self._rests and (rest := self._rests.get((user, _account(downstream)))) is not None:
            target.rest = rest
        return target

    def gauge(self, settings: Downstream, rules: Rules) -> Gauge:
        """See `smtp_router.routing.target.Shared`."""
        account = _account(settings)
        gauge = self._gauges.get(account)
        if gauge is None:
            server = _server(settings)
            circuit = self._circuits.get(server)
            if circuit is None:
                circuit = self._circuits[server] = Circuit(rules.window_s)
            gauge = self._gauges[account] = Gauge(circuit, rules.window_s)
        return gauge

    def rest(self, user: str, settings: Downstream) -> Rest:
        """See `smtp_router.routing.target.Shared`."""
        key = user, _account(settings)
        rest = self._rests.get(key)
        if rest is None:
            rest = self._rests[key] = Rest()
        return rest

    def _meter(self, user: str, downstream: Downstream) -> Meter:
        name = downstream.limits.name(user, downstream.name)
        meter = self._meters.get(name)
        if meter is None:
            names = self._names
            meter = self._meters[name] = Meter() if names is None else SharedMeter(names, name)
        return meter

    def _quotas_of(self, user: str, downstream: Downstream, settings: Settings) -> Sequence[Quota]:
        if self._quotas is None or not settings.quotas:
            return ()
        name = downstream.limits.name(user, downstream.name)
        of_this = settings.quotas.get(name, {})
        return tuple(self._quotas.of(name, kind, limit) for kind, limit in of_this.items())
