"""What clients do at all workers of a machine together.

A worker first says what it has and then looks how many all have, so no limit is passed by two that look
at the same moment. With one worker there is none of this (`smtp_router.smtp.guard`).
"""

from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.core.reply import Reply
from smtp_router.shared.table import Span, key_of
from smtp_router.shared.together import Together
from smtp_router.smtp.guard import BUSY, Failures, Guard, network_of


class SharedFailures(Failures):
    """Failed logins at whichever worker; each counts for up to 1/64 longer than the window."""

    def __init__(self, clock: Clock, together: Together) -> None:
        """Go on from what the others have counted."""
        super().__init__(clock)
        self._table = together.strangers

    def has_any(self, address: str, window_s: float) -> bool:
        """See `Failures`."""
        del window_s
        return self._table.may_count(_failures(network_of(address)), 0)

    def count(self, network: str, window_s: float) -> int:
        """See `Failures`."""
        return self._table.counted(_failures(network), Span(0, window_s, None), self._clock.now())

    def add(self, network: str, window_s: float, limit: int) -> bool:
        """See `Failures`."""
        span = Span(0, window_s, limit)
        return self._table.take(_failures(network), [span], self._clock.now()) is not None

    def take_back(self, network: str, window_s: float) -> None:
        """See `Failures`."""
        self._table.take_back(_failures(network), Span(0, window_s, None))


class SharedGuard(Guard):
    """Counts for all listeners of all workers."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        max_files: int,
        together: Together,
        workers: int,
    ) -> None:
        """See `Guard`.

        Args:
            settings: those that count at first.
            clock: for the window.
            max_files: how many file descriptors this process may have open.
            together: what all workers count.
            workers: how many there are.
        """
        self._clock = clock
        self._together = together
        self._workers = workers
        failures = SharedFailures(clock, together)
        super().__init__(settings, clock, max_files=max_files, failures=failures)
        self._told: set[str] = set()

    def follow(self, settings: Settings) -> None:
        """See `Guard`."""
        super().follow(settings)
        self._most = most = min(settings.max_connections, self._workers * self._max_open)
        self._most_from_there = min(settings.max_connections_per_address, max(most * 9 // 10, 1))

    def connected(self, address: str, descriptor: int) -> Reply | None:
        """See `Guard`."""
        refusal = super().connected(address, descriptor)
        everywhere = self._together.has_open(self._open)
        from_there = self._from(address, self._by_address[address])
        return refusal or (
            BUSY if everywhere > self._most or from_there > self._most_from_there else None
        )

    def disconnected(self, address: str) -> None:
        """See `Guard`."""
        super().disconnected(address)
        self._together.has_open(self._open)
        self._from(address, self._by_address.get(address, 0))

    def logged_in(self, user: str, limit: int | None) -> Reply | None:
        """See `Guard`."""
        refusal = super().logged_in(user, limit)
        if limit is None and user not in self._told:
            return refusal
        self._told.add(user)
        everywhere = self._of(user, self._by_user[user])
        return refusal or (BUSY if limit is not None and everywhere > limit else None)

    def logged_out(self, user: str) -> None:
        """See `Guard`."""
        super().logged_out(user)
        if user in self._told:
            left = self._by_user.get(user, 0)
            self._of(user, left)
            if not left:
                self._told.discard(user)

    def hold(self, octets: int) -> None:
        """See `Guard`."""
        super().hold(octets)
        self._together.has_octets(self._content_octets)

    def is_full(self) -> bool:
        """See `Guard`."""
        return self._together.octets() > self._max_octets

    def _from(self, address: str, count: int) -> int:
        key = key_of("connections", address)
        return self._together.strangers.hold(key, count, self._clock.now())

    def _of(self, user: str, count: int) -> int:
        return self._together.names.hold(key_of("sessions", user), count, self._clock.now())


def _failures(network: str) -> bytes:
    return key_of("failures", network)
