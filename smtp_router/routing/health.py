"""How downstreams fare: what became of attempts, counted where they are made.

A server's circuit is shared by all who connect to it in the same way, and opens when it cannot be
reached. An account's is shared by all with the same server and login, and opens when that account is
refused or let down. A downstream rests while one of the two is open.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from smtp_router.core.blame import Blame, blame
from smtp_router.core.breaker import Rules
from smtp_router.core.downstream import Figures, HealthState
from smtp_router.core.outcome import Delivered, Outcome
from smtp_router.core.window import Latency, Window
from smtp_router.routing.circuit import Circuit, Entry

_CLOSED = HealthState.CLOSED  # found once: a member of an enumeration takes long to find


class Change(NamedTuple):
    """What an attempt has changed, for the log."""

    whose: Blame
    """`SERVER`, `ACCOUNT` or `USER`."""
    rests_until: float | None
    """Until which instant it rests; `None` if it is back."""


class Gauge:
    """One account's state and figures."""

    __slots__ = (
        "__weakref__",
        "_account",
        "_bad",
        "_consecutive",
        "_delivered",
        "_failed",
        "_figures",
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
        self._figures: Figures | None = None
        """Those that stay as they are while nothing happens."""

    def is_resting(self, now: float) -> bool:
        """Whether others are to be preferred."""
        return self._server.is_resting(now) or self._account.is_resting(now)

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
        self._figures = None
        self._in_flight += 1
        server, account = self._server, self._account
        if server.is_calm and account.is_calm:
            return server.entry, account.entry
        return server.enter(now), account.enter(now)

    def leave(self, entries: tuple[Entry, Entry]) -> None:
        """End an attempt, whether there was anything to count or not."""
        self._figures = None
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
    ) -> Sequence[Change]:
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
        if outcome.__class__ is Delivered and self._server.is_calm and self._account.is_calm:
            # As below, of nearly every message: it changes no state, whenever it began.
            self._delivered += 1
            self._consecutive = 0
            self._latency.add(seconds)
            self._account.successes.add(now)
            self._server.successes.add(now)
            return ()
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
            self._figures = None

    def calm(self, now: float) -> Figures | None:
        """State and figures, if it is far from resting, as nearly always; `None`: take a closer look."""
        if self._server.is_calm and self._account.is_calm:
            return self._figures or self._counted(_CLOSED, now)
        return None

    def figures(self, now: float) -> Figures:
        """State and figures as they are now; the same object as long as nothing has changed."""
        return self.calm(now) or self._counted(self._state(now), now)

    def _counted(self, state: HealthState, now: float) -> Figures:
        bad = self._bad.total(now)
        good = self._account.good(now) if bad else 1
        latency = self._latency
        figures = (
            state,
            self._in_flight,
            self._delivered,
            self._failed,
            self._consecutive,
            good / (good + bad),
            latency.average,
            latency.p95,
        )
        if not bad and state is _CLOSED:  # otherwise it changes as time goes by
            self._figures = figures
        return figures

    def _state(self, now: float) -> HealthState:
        """The worse of the two."""
        states = {circuit.breaker.looked_at(now).state for circuit in (self._server, self._account)}
        for state in (HealthState.OPEN, HealthState.HALF_OPEN):
            if state in states:
                return state
        return _CLOSED
