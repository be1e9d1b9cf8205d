"""What keeps one client from taking the router away from the others: connections, and guessed passwords.

Failed logins count per address (IPv6: per /64) within `auth_window_s`. Up to `auth_failures` of them
cost nothing; each one more is answered after a delay that doubles; from twice that number on, AUTH is
answered `421` at once, until the window has passed. Attempts count as failed while they run, so that
many at the same time gain nothing.
"""

import ipaddress
import logging
from collections import OrderedDict, deque

from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.core.reply import Reply
from smtp_router.smtp.complaints import Complaints

log = logging.getLogger(__name__)

MAX_DELAY_S = 16.0
MAX_ADDRESSES = 20_000
"""Addresses whose failures are kept; the longest untouched one is forgotten first."""

RESERVED_FILES = 32
"""File descriptors for everything but connections; whoever gets one of them hears why it cannot stay."""

BUSY = Reply(code=421, enhanced="4.7.0", text="Too many connections, try again later")
LOCKED_OUT = Reply(code=421, enhanced="4.7.0", text="Too many failed logins, try again later")


class Failures:
    """Failed logins, by network; those at the same instant and attempts that run count, too."""

    def __init__(self, clock: Clock) -> None:
        """Nobody has failed yet."""
        self._clock = clock
        self._at: OrderedDict[str, deque[float]] = OrderedDict()

    def has_any(self, address: str, window_s: float) -> bool:
        """Whether one from there is within the window, or was until a moment ago."""
        del window_s
        return bool(self._at and self._at.get(network_of(address)))

    def count(self, network: str, window_s: float) -> int:
        """How many there are within the window."""
        return len(self._recent(network, window_s))

    def add(self, network: str, window_s: float, limit: int) -> bool:
        """Count one more, if there are fewer than that; whether there are."""
        failures = self._recent(network, window_s)
        if len(failures) >= limit:
            return False
        failures.append(self._clock.now())
        return True

    def take_back(self, network: str, window_s: float) -> None:
        """The newest was none."""
        failures = self._recent(network, window_s)
        if failures:
            failures.pop()
        if not failures:
            del self._at[network]

    def _recent(self, network: str, window_s: float) -> deque[float]:
        failures = self._at.setdefault(network, deque())
        self._at.move_to_end(network)
        if len(self._at) > MAX_ADDRESSES:
            self._at.popitem(last=False)
        oldest = self._clock.now() - window_s
        while failures and failures[0] < oldest:
            failures.popleft()
        return failures


class Guard:
    """Counts what clients do, for all listeners of one router."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        max_files: int,
        failures: Failures | None = None,
    ) -> None:
        """Nothing is counted yet.

        Args:
            settings: those that count at first.
            clock: for the window.
            max_files: how many file descriptors the process may have open.
            failures: where failed logins are counted; by default, for this process alone.
        """
        self._max_descriptor = max_files - RESERVED_FILES
        self._max_open = max(self._max_descriptor // 2, 1)  # each may need another for a downstream
        self._open = 0
        self._content_octets = 0
        self.complaints = Complaints(log, clock)
        """Log lines about strangers."""
        self._by_address: dict[str, int] = {}
        self._by_user: dict[str, int] = {}
        self._failures = failures or Failures(clock)
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """These settings count from now on; what is counted already stays so."""
        self._settings = settings
        self._max_octets = settings.max_memory_bytes
        self._total = total = min(settings.max_connections, self._max_open)
        # Nobody gets the last tenth but those who have few: room for others.
        self._share = min(settings.max_connections_per_address, max(total * 9 // 10, 1))

    # Connections

    def connected(self, address: str, descriptor: int) -> Reply | None:
        """Count a connection; the reply to refuse it with, if there are too many.

        Refused or not, `disconnected` has to be called for it.

        Args:
            address: the client's.
            descriptor: the connection's; the lowest that was free, so it tells how many are in use.
        """
        self._open = is_open = self._open + 1
        counts = self._by_address
        counts[address] = from_there = counts.get(address, 0) + 1
        full = is_open > self._total or descriptor >= self._max_descriptor or from_there > self._share
        return BUSY if full else None

    def disconnected(self, address: str) -> None:
        """Count a connection off."""
        self._open -= 1
        counts = self._by_address
        counts[address] = left = counts[address] - 1
        if not left:
            del counts[address]

    def logged_in(self, user: str, limit: int | None) -> Reply | None:
        """Count a session of a user; the reply to refuse it with, if that user has too many."""
        counts = self._by_user
        counts[user] = sessions = counts.get(user, 0) + 1
        return BUSY if limit is not None and sessions > limit else None

    def logged_out(self, user: str) -> None:
        """Count a session of a user off."""
        counts = self._by_user
        counts[user] = left = counts[user] - 1
        if not left:
            del counts[user]

    # Content

    def hold(self, octets: int) -> None:
        """Count octets of content that came into memory, or (below 0) left it."""
        self._content_octets += octets

    def is_full(self) -> bool:
        """Whether there is as much content in memory as may be."""
        return self._content_octets > self._max_octets

    # Passwords

    def has_failed(self, address: str) -> bool:
        """Whether there was a failed login from there, of late."""
        return self._failures.has_any(address, self._settings.auth_window_s)

    def login_begins(self, address: str) -> Reply | None:
        """Count an attempt to log in; the reply to refuse it with, if there were too many."""
        settings, network = self._settings, network_of(address)
        most = 2 * settings.auth_failures
        return None if self._failures.add(network, settings.auth_window_s, most) else LOCKED_OUT

    def login_succeeded(self, address: str) -> None:
        """Take back the attempt: it was none at guessing."""
        self._failures.take_back(network_of(address), self._settings.auth_window_s)

    def delay_s(self, address: str) -> float:
        """How long to wait before a failure is answered."""
        settings = self._settings
        counted = self._failures.count(network_of(address), settings.auth_window_s)
        beyond = counted - settings.auth_failures
        return float(min(2 ** (beyond - 1), MAX_DELAY_S)) if beyond > 0 else 0.0


def network_of(address: str) -> str:
    """What one attacker has plenty of: an IPv6 /64 is a single customer."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return address
