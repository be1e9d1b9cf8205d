"""What a user may do: from where without a login, as which sender, how often."""

import ipaddress
from collections import deque
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from smtp_router.config.settings import User
from smtp_router.config.types import Rate
from smtp_router.core.address import unmapped
from smtp_router.core.clock import Clock
from smtp_router.core.reply import Reply

SENDER = Reply(code=553, enhanced="5.7.1", text="This login may not send as this address")
TOO_OFTEN = Reply(code=451, enhanced="4.7.1", text="Too many messages, try again later")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Networks:
    """Which user an address belongs to; the longest prefix wins."""

    def __init__(self, users: Iterable[User]) -> None:
        """Index the networks of these users."""
        index: dict[tuple[int, int], dict[int, str]] = {}
        for user in users:
            for network in user.networks:
                by_prefix = index.setdefault((network.version, network.prefixlen), {})
                by_prefix[int(network.network_address)] = user.email
        self._index: Mapping[tuple[int, int], Mapping[int, str]] = dict(
            sorted(index.items(), reverse=True)
        )

    def user_at(self, address: str) -> str | None:
        """The user whose network this address is in, if any."""
        if not self._index:
            return None
        try:
            parsed = ipaddress.ip_address(unmapped(address))
        except ValueError:
            return None
        number = int(parsed)
        for (version, prefix), users in self._index.items():
            if version == parsed.version:
                bits = parsed.max_prefixlen - prefix
                user = users.get(number >> bits << bits)
                if user is not None:
                    return user
        return None


def may_send_as(user: User, mail_from: str) -> bool:
    """Whether a user may give this reverse-path; the null one (RFC 5321 4.5.5) always."""
    if not mail_from or not user.senders:
        return True
    return any(fnmatchcase(mail_from.lower(), sender.lower()) for sender in user.senders)


class Turns:
    """How often each user has sent; exact over any window."""

    def __init__(self, clock: Clock) -> None:
        """Nobody has sent yet."""
        self._clock = clock
        self._taken: dict[str, deque[float]] = {}

    def take(self, user: str, rate: Rate | None) -> bool:
        """Take one turn, if the rate leaves one."""
        if rate is None:
            if self._taken:
                self._taken.pop(user, None)
            return True
        now = self._clock.now()
        taken = self._taken.setdefault(user, deque())
        while taken and taken[0] <= now - rate.seconds:
            taken.popleft()
        if len(taken) >= rate.count:
            return False
        taken.append(now)
        return True
