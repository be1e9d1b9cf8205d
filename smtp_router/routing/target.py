"""One downstream of one user: how plugins see it, how the sender does, and an attempt at it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.types import HostPort
from smtp_router.core.blame import Blame
from smtp_router.core.breaker import Rules
from smtp_router.core.clock import Clock
from smtp_router.core.downstream import Downstream, Health, HealthState
from smtp_router.core.outcome import Attempt, Deferred, Delivered, InDoubt
from smtp_router.routing.health import Change, Gauge
from smtp_router.routing.limits import Meter
from smtp_router.routing.quotas import Quota
from smtp_router.routing.rest import Rest

log = logging.getLogger(__name__)

_UNTRIED = Health()


class Shared(Protocol):
    """What targets have in common."""

    @property
    def news(self) -> "Callable[[Target, Change], None] | None":
        """Told of every change that an attempt has made, if somebody else wants to know."""
        ...

    def gauge(self, settings: DownstreamSettings, rules: Rules) -> Gauge:
        """How the account at this server fares."""
        ...

    def rest(self, user: str, settings: DownstreamSettings) -> Rest:
        """The rest that it has asked for, of this user's mail."""
        ...


class Target:
    """One downstream of one user.

    Its `gauge`, how it fares, and its `rest`, the one that it has asked for, are there when somebody
    first looks: of ten thousand users' targets few are in use at a time, and these two are most of what
    a target takes in memory (1.3 KB).

    Args:
        user: the login name of whose downstream it is.
        settings: how the sender sees it.
        rules: when it rests.
        shared: has the gauge and the rest.
        meter: what is sent there, and to whom else counts together with it; `None`: no limits.
        quotas: those that it has by the calendar.
    """

    __slots__ = (
        "_seen",
        "gauge",
        "limits",
        "meter",
        "quotas",
        "rest",
        "rules",
        "settings",
        "shared",
        "user",
    )

    gauge: Gauge
    rest: Rest

    def __init__(
        self,
        user: str,
        settings: DownstreamSettings,
        rules: Rules,
        *,
        shared: Shared,
        meter: Meter | None,
        quotas: Sequence[Quota],
    ) -> None:
        """See the class."""
        self.user = user
        self.settings = settings
        self.limits = settings.limits
        self.rules = rules
        self.shared = shared
        self.meter = meter
        self.quotas = quotas
        self._seen = self.described

    def __getattr__(self, name: str) -> object:
        """The gauge or the rest, which is asked for only as long as it is not there."""
        if name == "gauge":
            self.gauge = self.shared.gauge(self.settings, self.rules)
            return self.gauge
        if name == "rest":
            self.rest = self.shared.rest(self.user, self.settings)
            return self.rest
        raise AttributeError(name)

    def seen(self, now: float) -> Downstream:
        """How plugins see it at this instant; the same object as long as nothing has changed."""
        health = self.gauge.frozen(now)
        if now < self.rest.until:
            return self._with(replace(health, state=HealthState.OPEN))
        if health is not self._seen.health:
            self._seen = self._with(health)
        return self._seen

    @property
    def described(self) -> Downstream:
        """How plugins see it before anything was sent there."""
        return self._with(_UNTRIED)

    def is_resting(self, now: float) -> bool:
        """Whether others are to be preferred: it has failed, or has asked for it."""
        return now < self.rest.until or self.gauge.is_resting(now)

    def resting(self, now: float) -> tuple[float, str]:
        """Until which instant it rests, and why; an instant that has passed: it is being tried again."""
        if now < self.rest.until:
            return self.rest.until, self.rest.because
        return self.gauge.resting(now)

    @property
    def failed_at(self) -> float:
        """The instant at which it last failed, or asked for a rest."""
        return max(self.gauge.failed_at, self.rest.asked_at)

    def has_room(self, now: float) -> bool:
        """Whether its limits leave room for one more message."""
        if self.meter is None:
            return True
        if not self.meter.has_room(self.limits, now):
            return False
        return all(quota.has_room() for quota in self.quotas) if self.quotas else True

    def opens_at(self, now: float) -> float:
        """From which instant on they do; infinity: when another message is done."""
        if self.meter is None:
            return now
        opens_at = self.meter.opens_at(self.limits, now)
        for quota in self.quotas:
            if not quota.has_room():
                opens_at = max(opens_at, now + quota.seconds_left())
        return opens_at

    def claim(self, now: float) -> bool:
        """See that the room that there was just now is taken by nobody else but the next `Passage`.

        Nor by other processes with the same limits, if there are any.
        """
        return self.meter is None or self.meter.claim(self.limits, now)

    async def is_ready(self) -> bool:
        """See that there is a unit of every quota to take; whether there is.

        It is there until the caller waits for something else.
        """
        while not all(quota.has_unit() for quota in self.quotas):
            for quota in self.quotas:
                if not await quota.ready():
                    return False
        return True

    def tell(self, change: Change, attempt: Attempt, clock: Clock) -> None:
        """Log that it rests, or is back."""
        fields: dict[str, object] = {
            "user": self.user,
            "downstream": self.settings.name,
            "server": str(self.settings.addr),
            "whose": change.whose,
        }
        if change.rests_until is None:
            log.info("downstream is back", extra={"fields": fields})
            return
        rest_s = change.rests_until - clock.now()
        fields |= {
            "seconds": round(rest_s, 1),
            "until": (clock.wall() + timedelta(seconds=rest_s)).isoformat(timespec="seconds"),
            "reason": str(attempt.outcome),
        }
        log.warning("downstream rests", extra={"fields": fields})

    def _with(self, health: Health) -> Downstream:
        addr = self.settings.addr
        return Downstream(
            name=self.settings.name,
            host=addr.host if isinstance(addr, HostPort) else str(addr),
            port=addr.port if isinstance(addr, HostPort) else 0,
            options=self.settings.options,
            health=health,
        )


class Passage:
    """One attempt, counted from the choice of the downstream to its end, whatever that is."""

    __slots__ = ("_began", "_chance", "_clock", "_entries", "_place", "_sent", "_target")

    def __init__(self, target: Target, clock: Clock, chance: Callable[[], float], now: float) -> None:
        """It begins now.

        Args:
            target: the downstream.
            clock: for the log.
            chance: gives a number from 0 to 1.
            now: the present instant.
        """
        self._target = target
        self._clock = clock
        self._chance = chance
        self._began = now
        self._entries = target.gauge.enter(now)
        self._place = None if target.meter is None else target.meter.take(target.quotas, now)
        self._sent: bool | None = None

    def __enter__(self) -> Self:
        """Leave it, and it has ended."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is not under way any more."""
        self._target.gauge.leave(self._entries)
        if self._place is not None:
            self._place.leave(sent=self._sent)

    def commit(self) -> None:
        """The final dot is about to go out."""
        if self._place is not None:
            self._place.commit()

    def ended(self, attempt: Attempt, now: float) -> None:
        """Count what became of it, now."""
        self._sent = isinstance(attempt.outcome, Delivered | InDoubt)
        changes = self._target.gauge.count(
            self._entries,
            attempt.outcome,
            attempt.seconds,
            now,
            rules=self._target.rules,
            chance=self._chance,
        )
        rest = self._target.rest
        match attempt.outcome:
            case Delivered():
                if rest.delivered(self._began):
                    changes.append(Change(Blame.USER, None))
            case Deferred(rest_s=seconds) as asked if seconds and rest.ask(seconds, now, str(asked)):
                changes.append(Change(Blame.USER, rest.until))
        for change in changes:
            self._target.tell(change, attempt, self._clock)
            if self._target.shared.news is not None:
                self._target.shared.news(self._target, change)
