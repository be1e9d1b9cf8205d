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
from smtp_router.core.outcome import Outcome
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
        "_bad",
        "_consecutive",
        "_delivered",
        "_failed",
        "_in_flight",
        "_latency",
        "account",
        "kept",
        "server",
    )

    def __init__(self, server: Circuit, window_s: float) -> None:
        """Nothing has happened yet.

        Args:
            server: the server's circuit.
            window_s: how far the success rate reaches back, in seconds.
        """
        self.server = server
        self.account = Circuit(window_s)
        self._bad: Window | None = None
        """Failures, if there were any lately."""
        self._latency = Latency()
        self._in_flight = self._delivered = self._failed = self._consecutive = 0
        self.kept: Figures | None = None
        """Those that stay as they are while nothing happens, and both circuits are calm."""

    def is_resting(self, now: float) -> bool:
        """Whether others are to be preferred."""
        return self.server.is_resting(now) or self.account.is_resting(now)

    def resting(self, now: float) -> tuple[float, str]:
        """Until which instant it rests, and why; an instant that has passed: it is being tried again."""
        resting = [one for one in (self.server, self.account) if one.is_resting(now)]
        longest = max(resting or [self.account], key=lambda one: one.breaker.until)
        return longest.breaker.until, longest.because

    @property
    def failed_at(self) -> float:
        """The instant of the last failure."""
        return max(self.server.breaker.failed_at, self.account.breaker.failed_at)

    def enter(self, now: float) -> tuple[Entry, Entry]:
        """Begin an attempt."""
        self.kept = None
        self._in_flight += 1
        server, account = self.server, self.account
        if server.is_calm and account.is_calm:
            return server.entry, account.entry
        return server.enter(now), account.enter(now)

    def leave(self, entries: tuple[Entry, Entry]) -> None:
        """End an attempt, whether there was anything to count or not."""
        self.kept = None
        self._in_flight -= 1
        server, account = entries
        self.server.leave(server)
        self.account.leave(account)

    def delivered(self, seconds: float, now: float) -> bool:
        """Count a delivery and end the attempt, if it changes no state, as nearly always.

        It is what `count` and `leave` do then: for a circuit that is closed, it does not matter when an
        attempt began, nor whether that was a trial.

        Returns:
            Whether it was done.
        """
        server, account = self.server, self.account
        if not (server.is_calm and account.is_calm):
            return False
        self.kept = None
        self._in_flight -= 1
        self._delivered += 1
        self._consecutive = 0
        self._latency.add(seconds)
        window = account.successes  # see `Window.add`
        if now >= window.ends:
            window.begin(now)
        window.newest += 1
        window = server.successes
        if now >= window.ends:
            window.begin(now)
        window.newest += 1
        return True

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
        server, account = entries
        whose = blame(outcome)
        changes = []
        if whose is Blame.NOBODY:
            self._delivered += 1
            self._consecutive = 0
            self._latency.add(seconds)
            if self.account.succeeded(account, now):
                changes.append(Change(Blame.ACCOUNT, None))
        if whose is Blame.NOBODY or whose is Blame.MESSAGE:
            # It was reached, and said so; of a lost connection that would be too much to say.
            if self.server.succeeded(server, now):
                changes.append(Change(Blame.SERVER, None))
            return changes
        self._failed += 1
        self._consecutive += 1
        if self._bad is None or rules.window_s != self._bad.seconds:
            self._bad = Window(rules.window_s)
        self._bad.add(now)
        circuit, entry = (self.server, server) if whose is Blame.SERVER else (self.account, account)
        if circuit.failed(entry, now, rules, chance):
            circuit.because = str(outcome)
            changes.append(Change(whose, circuit.breaker.until))
        return changes

    def circuit(self, whose: Blame) -> Circuit:
        """The circuit of the server, or that of the account."""
        return self.server if whose is Blame.SERVER else self.account

    def hear(self, whose: Blame, until: float, rests: int, because: str, now: float) -> None:
        """Rest as a neighbour does."""
        if self.circuit(whose).hear(until, rests, because, now):
            self.kept = None

    def figures(self, now: float) -> Figures:
        """State and figures as they are now; the same object as long as nothing has changed."""
        if self.server.is_calm and self.account.is_calm:
            return self.kept or self.counted(_CLOSED, now)
        return self.counted(self._state(now), now)

    def counted(self, state: HealthState, now: float) -> Figures:
        """Figures as they are now, with this state; see `figures`."""
        bad, latency = self._bad, self._latency
        values = latency.values
        figures = (
            state,
            self._in_flight,
            self._delivered,
            self._failed,
            self._consecutive,
            1.0 if bad is None else self._success_rate(bad, now),
            latency.average,
            values,
            len(values),
        )
        if self._bad is None and state is _CLOSED:  # otherwise it changes as time goes by
            self.kept = figures
        return figures

    def _success_rate(self, bad: Window, now: float) -> float:
        failed = bad.total(now)
        if not failed:
            self._bad = None
            return 1.0
        good = self.account.good(now)
        return good / (good + failed)

    def _state(self, now: float) -> HealthState:
        """The worse of the two."""
        states = {circuit.breaker.looked_at(now).state for circuit in (self.server, self.account)}
        for state in (HealthState.OPEN, HealthState.HALF_OPEN):
            if state in states:
                return state
        return _CLOSED
