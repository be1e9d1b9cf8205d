"""How downstreams fare: what became of attempts, counted where they are made.

A server's circuit is shared by all who connect to it in the same way, and opens when it cannot be
reached. An account's is shared by all with the same server and login, and opens when that account is
refused or let down. A downstream rests while one of the two is open.
"""

from collections.abc import Callable
from typing import NamedTuple

from smtp_router.core.blame import Blame, blame
from smtp_router.core.breaker import Rules
from smtp_router.core.downstream import Health, HealthState
from smtp_router.core.outcome import Outcome
from smtp_router.core.window import Latency, Window
from smtp_router.routing.circuit import Circuit, Entry


class Change(NamedTuple):
    """What an attempt has changed, for the log."""

    whose: Blame
    """`SERVER`, `ACCOUNT` or `USER`."""
    rests_until: float | None
    """Until which instant it rests; `None` if it is back."""


class Gauge:
    """One account's state and figures; frozen once, and again when they have changed."""

    __slots__ = (
        "__weakref__",
        "_account",
        "_bad",
        "_consecutive",
        "_delivered",
        "_failed",
        "_frozen",
        "_in_flight",
        "_latency",
        "_server",
    )

    def __init__(self, server: Circuit, window_s: float) -> None:
        """Nothing has happened yet.

        Args:
            server: the server's circuit.
            window_s: how far the success rate reaches back, in seconds.
        """
        self._server = server
        self._account = Circuit(window_s)
        self._bad = Window(window_s)
        self._latency = Latency()
        self._in_flight = self._delivered = self._failed = self._consecutive = 0
        self._frozen: Health | None = None

    def is_resting(self, now: float) -> bool:
        """Whether others are to be preferred."""
        server, account = self._server, self._account
        if server.breaker.state is account.breaker.state is HealthState.CLOSED:
            return False  # which it is for almost every message
        return server.is_resting(now) or account.is_resting(now)

    def resting(self, now: float) -> tuple[float, str]:
        """Until which instant it rests, and why; an instant that has passed: it is being tried again."""
        resting = [one for one in (self._server, self._account) if one.is_resting(now)]
        longest = max(resting or [self._account], key=lambda one: one.breaker.until)
        return longest.breaker.until, longest.because

    @property
    def failed_at(self) -> float:
        """The instant of the last failure."""
        return max(self._server.breaker.failed_at, self._account.breaker.failed_at)

    def enter(self, now: float) -> tuple[Entry, Entry]:
        """Begin an attempt."""
        self._frozen = None
        self._in_flight += 1
        server, account = self._server, self._account
        if server.breaker.state is account.breaker.state is HealthState.CLOSED:
            return server.entry, account.entry
        return server.enter(now), account.enter(now)

    def leave(self, entries: tuple[Entry, Entry]) -> None:
        """End an attempt, whether there was anything to count or not."""
        self._frozen = None
        self._in_flight -= 1
        server, account = entries
        if server.is_trial:
            self._server.leave(server)
        if account.is_trial:
            self._account.leave(account)

    def count(
        self,
        entries: tuple[Entry, Entry],
        outcome: Outcome,
        seconds: float,
        now: float,
        *,
        rules: Rules,
        chance: Callable[[], float],
    ) -> list[Change]:
        """Count what became of an attempt.

        Args:
            entries: what `enter` gave.
            outcome: what became of it.
            seconds: how long it took.
            now: the present instant.
            rules: when to rest.
            chance: gives a number from 0 to 1.

        Returns:
            What that has changed.
        """
        server, account = entries
        whose = blame(outcome)
        changes = []
        if whose is Blame.NOBODY:
            self._delivered += 1
            self._consecutive = 0
            self._latency.add(seconds)
            if self._account.succeeded(account, now):
                changes.append(Change(Blame.ACCOUNT, None))
        if whose is Blame.NOBODY or whose is Blame.MESSAGE:
            # It was reached, and said so; of a lost connection that would be too much to say.
            if self._server.succeeded(server, now):
                changes.append(Change(Blame.SERVER, None))
            return changes
        self._failed += 1
        self._consecutive += 1
        if rules.window_s != self._bad.seconds:
            self._bad = Window(rules.window_s)
        self._bad.add(now)
        circuit, entry = (self._server, server) if whose is Blame.SERVER else (self._account, account)
        if circuit.failed(entry, now, rules, chance):
            circuit.because = str(outcome)
            changes.append(Change(whose, circuit.breaker.until))
        return changes

    def circuit(self, whose: Blame) -> Circuit:
        """The circuit of the server, or that of the account."""
        return self._server if whose is Blame.SERVER else self._account

    def hear(self, whose: Blame, until: float, rests: int, because: str, now: float) -> None:
        """Rest as a neighbour does."""
        if self.circuit(whose).hear(until, rests, because, now):
            self._frozen = None

    def frozen(self, now: float) -> Health:
        """State and figures as they are now."""
        if self._frozen is not None:
            return self._frozen
        bad = self._bad.total(now)
        good = self._account.good(now) if bad else 1
        state = self._state(now)
        health = Health(
            state=state,
            in_flight=self._in_flight,
            delivered=self._delivered,
            failed=self._failed,
            consecutive_failures=self._consecutive,
            success_rate=good / (good + bad),
            latency_s=self._latency.average,
            p95_s=self._latency.p95,
        )
        if not bad and state is HealthState.CLOSED:  # otherwise it changes as time goes by
            self._frozen = health
        return health

    def _state(self, now: float) -> HealthState:
        """The worse of the two."""
        server, account = self._server.breaker.state, self._account.breaker.state
        if server is account is HealthState.CLOSED:
            return server
        states = {circuit.breaker.looked_at(now).state for circuit in (self._server, self._account)}
        return HealthState.OPEN if HealthState.OPEN in states else HealthState.HALF_OPEN
