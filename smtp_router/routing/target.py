"""One downstream of one user: how plugins see it, how the sender does, and an attempt at it."""

import logging
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.types import HostPort
from smtp_router.core.blame import Blame
from smtp_router.core.breaker import Rules
from smtp_router.core.clock import Clock
from smtp_router.core.downstream import Downstream, Figures, HealthState, with_figures
from smtp_router.core.outcome import Attempt, Deferred, Delivered, InDoubt
from smtp_router.routing.circuit import Entry
from smtp_router.routing.health import Change, Gauge
from smtp_router.routing.lease import Lease
from smtp_router.routing.limits import Meter, Parts
from smtp_router.routing.quotas import Quota
from smtp_router.routing.rest import NEVER, Rest

log = logging.getLogger(__name__)

_CLOSED, _OPEN = HealthState.CLOSED, HealthState.OPEN  # members take long to find, of an enumeration
_UNTRIED = (_CLOSED, 0, 0, 0, 0, 1.0, 0.0, (), 0)


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
    a target takes in memory (1.3 KB). Not by `__getattr__`: a class that has one makes the interpreter
    look up every other attribute slowly.

    Args:
        user: the login name of whose downstream it is.
        settings: how the sender sees it.
        rules: when it rests.
        shared: has the gauge and the rest.
        meter: what is sent there, and to whom else counts together with it; `None`: no limits.
        quotas: those that it has by the calendar.
    """

    __slots__ = (
        "_figures",
        "_gauge",
        "_rest",
        "_seen",
        "_sure",
        "limits",
        "meter",
        "quotas",
        "rules",
        "settings",
        "shared",
        "user",
    )

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
        if meter is not None:
            meter.watch(settings.limits)
        self._sure: float = -math.inf
        """While the meter has not taken so many, there is room, whatever the time."""
        self._gauge: Gauge | None = None
        self._rest: Rest | None = None
        addr = settings.addr
        self._seen = Downstream(
            name=settings.name,
            host=addr.host if isinstance(addr, HostPort) else str(addr),
            port=addr.port if isinstance(addr, HostPort) else 0,
            options=settings.options,
        )
        self._figures: Figures | None = None

    @property
    def gauge(self) -> Gauge:
        """How its account at the server fares."""
        if self._gauge is None:
            self._gauge = self.shared.gauge(self.settings, self.rules)
        return self._gauge

    @gauge.setter
    def gauge(self, gauge: Gauge) -> None:
        self._gauge = gauge

    @property
    def rest(self) -> Rest:
        """The rest that it has asked for, of this user's mail."""
        if self._rest is None:
            self._rest = self.shared.rest(self.user, self.settings)
        return self._rest

    @rest.setter
    def rest(self, rest: Rest) -> None:
        self._rest = rest

    def offered(self, now: float) -> Downstream | None:
        """How plugins see it at this instant, if it has room and does not rest; `None`: one of the two.

        Asked about all of a user's targets for each message; `has_room`, `is_resting` and `seen` say
        the same in twice the time.
        """
        meter = self.meter
        if meter is not None and meter.taken >= self._sure and not self.has_room(now):
            return None
        gauge = self._gauge or self.gauge
        if not (gauge.server.is_calm and gauge.account.is_calm) or now < (self._rest or self.rest).until:
            return None if self.is_resting(now) else self.seen(now)
        figures = gauge.kept or gauge.counted(_CLOSED, now)
        if figures is not self._figures:
            self._figures = figures
            self._seen = with_figures(self._seen, figures)
        return self._seen

    def seen(self, now: float) -> Downstream:
        """How plugins see it at this instant; the same object as long as nothing has changed."""
        figures = self.gauge.figures(now)
        if now < self.rest.until:
            return with_figures(self._seen, (_OPEN, *figures[1:]))
        if figures is not self._figures:
            self._figures = figures
            self._seen = with_figures(self._seen, figures)
        return self._seen

    @property
    def described(self) -> Downstream:
        """How plugins see it before anything was sent there."""
        return with_figures(self._seen, _UNTRIED)

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
        meter = self.meter
        if meter is None:
            return True
        room = meter.room(self.limits, now)
        if self.quotas:  # these are asked each time
            return room > 0 and all(quota.has_room() for quota in self.quotas)
        self._sure = meter.taken + room
        return room > 0

    def opens_at(self, now: float) -> float:
        """From which instant on they do; infinity: when another message is done."""
        if self.meter is None:
            return now
        opens_at = self.meter.opens_at(self.limits, now)
        for quota in self.quotas:
            if not quota.has_room():
                opens_at = max(opens_at, now + quota.seconds_left())
        return opens_at

    def begin(self, now: float) -> "Passage | None":
        """Begin an attempt now; `None`: other processes have taken the room that there was just now."""
        meter, quotas = self.meter, self.quotas
        parts = () if meter is None else meter.take(self.limits, now)
        if parts is None:
            return None
        passage = Passage()
        passage.target = self
        passage.gauge = gauge = self._gauge or self.gauge
        passage.rest = self._rest or self.rest
        passage.parts = parts
        passage.began = now
        passage.entries = gauge.enter(now)
        passage.leases = [(quota, quota.take()) for quota in quotas] if quotas else ()
        passage.committed = False
        passage.sent = None
        return passage

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


class Passage:
    """One attempt, counted from the choice of the downstream to its end, whatever that is.

    `Target.begin` fills it in, once for each message: an `__init__` would take as long as all of that.
    `leave` is to be called, once, whatever becomes of it.
    """

    __slots__ = (
        "began",
        "committed",
        "entries",
        "gauge",
        "leases",
        "parts",
        "rest",
        "sent",
        "target",
    )

    target: Target
    """The downstream."""
    gauge: Gauge
    """How it fares."""
    rest: Rest
    """The one that it has asked for."""
    parts: Parts
    """What was taken of its meter."""
    began: float
    """When that was."""
    entries: tuple[Entry, Entry]
    """How it went into the gauge."""
    leases: Sequence[tuple[Quota, Lease]]
    """What was taken of quotas."""
    committed: bool
    """Whether the final dot is about to go out, or has."""
    sent: bool | None
    """Whether the downstream has the message, or may have it; `None`: not counted yet."""

    def commit(self) -> None:
        """The final dot is about to go out: from now on the downstream may have it."""
        if self.leases and not self.committed:
            for quota, lease in self.leases:
                quota.commit(lease)
        self.committed = True

    def ended(self, attempt: Attempt, now: float, clock: Clock, chance: Callable[[], float]) -> None:
        """Count what became of it.

        Args:
            attempt: that.
            now: the present instant.
            clock: for the log.
            chance: gives a number from 0 to 1.
        """
        outcome, gauge, rest = attempt.outcome, self.gauge, self.rest
        if (
            outcome.__class__ is Delivered
            and rest.asked_at == NEVER
            and gauge.delivered(attempt.seconds, now)
        ):
            self.sent = True
            return
        target = self.target
        changes = gauge.count(
            self.entries, outcome, attempt.seconds, now, rules=target.rules, chance=chance
        )
        gauge.leave(self.entries)
        self.sent = isinstance(outcome, Delivered | InDoubt)
        match outcome:
            case Delivered():
                if rest.delivered(self.began):
                    changes = [*changes, Change(Blame.USER, None)]
            case Deferred(rest_s=seconds) if seconds and rest.ask(seconds, now, str(outcome)):
                changes = [*changes, Change(Blame.USER, rest.until)]
        for change in changes:
            target.tell(change, attempt, clock)
            if target.shared.news is not None:
                target.shared.news(target, change)

    def leave(self) -> None:
        """Keep what was taken of limits, or give it back; without an outcome, go by the final dot."""
        sent = self.sent
        if sent is None:
            self.gauge.leave(self.entries)
            sent = self.committed
        meter = self.target.meter
        if meter is not None:
            if self.leases:
                self._settle(sent=sent)
            if not sent:
                meter.give_back(self.parts, self.began)
            meter.leave()

    def _settle(self, *, sent: bool) -> None:
        """Use the units that were taken of quotas, or give them back."""
        if sent:
            self.commit()
        for quota, lease in self.leases:
            if not sent:
                quota.take_back(lease, committed=self.committed)
            quota.leave(lease)
