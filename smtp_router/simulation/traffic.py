"""Mail that is made up: when it comes, from whom, to whom, how much of it. Repeatable, from a seed.

What is drawn for every message is where it stands in tables that were drawn before: so a million
messages take a second or two, and a thousand senders come again and again, as senders do.
"""

import itertools
import math
import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from smtp_router.config.scenario import Kind, Scenario
from smtp_router.config.spread import Size
from smtp_router.config.types import Rate
from smtp_router.core.content import Stuffed
from smtp_router.core.headers import format_field
from smtp_router.core.message import Message, Session, received

ADDRESSES = 1000
"""How many senders and recipients each kind of mail has."""
SIZES = 4096
"""How many different sizes it comes in."""

_LINE = b"This is a simulation: nobody wrote this line and nobody is going to read it.\r\n"
_LINES = 256
_BLOCK = _LINE * _LINES


class Arrival(NamedTuple):
    """A message comes."""

    at: float
    """The instant, from the beginning of the run, in seconds."""
    message: Message


class Traffic(Protocol):
    """Mail that comes; the same, each time that it is asked for."""

    @property
    def count(self) -> int:
        """How many messages."""
        ...

    @property
    def start(self) -> datetime:
        """What the calendar says at the beginning."""
        ...

    def arrivals(self) -> Iterator[Arrival]:
        """All of them, in their order."""
        ...


class Letters:
    """One kind of mail."""

    def __init__(self, kind: Kind, rng: random.Random) -> None:
        """Draw the tables."""
        self.senders = _addresses(kind.sender_domains, rng)
        self.recipients = _addresses(kind.recipient_domains, rng)
        self._many = min(kind.recipients, ADDRESSES)
        self._bodies = [body(_drawn(kind.bytes, rng)) for _ in range(SIZES)]
        self._fields = b"".join(format_field(name, text) for name, text in kind.headers.items())

    def write(self, user: str, message_id: str, at: datetime, rng: random.Random) -> Message:
        """A message that is none like the other."""
        sender = self.senders[int(rng.random() * ADDRESSES)]
        first = int(rng.random() * ADDRESSES)
        if self._many == 1:
            recipients: tuple[str, ...] = (self.recipients[first],)
        else:
            recipients = several(self.recipients, first, self._many)
        rest = self._bodies[int(rng.random() * SIZES)]
        return letter(
            message_id, user, at, sender=sender, recipients=recipients, rest=rest, fields=self._fields
        )


class MadeUp:
    """As much mail as is wanted; see `Traffic`."""

    def __init__(
        self, scenario: Scenario, user: str, seed: int, *, count: int, rate: Rate, start: datetime
    ) -> None:
        """Nothing is drawn yet.

        Args:
            scenario: says what kinds of mail there are.
            user: whose mail it is.
            seed: what all draws follow from.
            count: how many messages.
            rate: how many in which time, on average.
            start: what the calendar says at the beginning.
        """
        self.count = count
        self.start = start
        self._scenario = scenario
        self._user = user
        self._seed = seed
        self._gap_s = rate.seconds / rate.count

    def arrivals(self) -> Iterator[Arrival]:
        """See `Traffic`."""
        rng = random.Random(f"traffic {self._seed}")  # noqa: S311 - it has to come again
        kinds = [Letters(kind, rng) for kind in self._scenario.mail]
        shares = list(itertools.accumulate(kind.share for kind in self._scenario.mail))
        by_chance = self._scenario.arrivals == "poisson"
        at = 0.0
        for _ in range(self.count):
            at += self._gap_s * -math.log(1.0 - rng.random()) if by_chance else self._gap_s
            kind = kinds[bisect(shares, rng.random() * shares[-1]) if len(kinds) > 1 else 0]
            now = self.start + timedelta(seconds=at)
            yield Arrival(at, kind.write(self._user, f"{rng.getrandbits(80):020x}", now, rng))


def letter(
    message_id: str,
    user: str,
    at: datetime,
    *,
    sender: str,
    recipients: tuple[str, ...],
    rest: Stuffed,
    fields: bytes = b"",
) -> Message:
    """A message with a header that fits its envelope.

    Args:
        message_id: the router's id.
        user: the login name.
        at: when it comes.
        sender: the reverse-path.
        recipients: the recipients.
        rest: the body.
        fields: more header fields, CRLF at the end of each.
    """
    head = (
        f"From: <{sender}>\r\nTo: <{recipients[0]}>\r\nSubject: Simulated {message_id}\r\n"
        f"Message-ID: <{message_id}@simulated.example>\r\n"
    ).encode() + fields
    content = Stuffed((head, *rest.pieces), len(head) + rest.size)
    return received(
        content,
        id=message_id,
        user=user,
        session=SESSION,
        received_at=at,
        mail_from=sender,
        rcpt_tos=recipients,
    )


SESSION = Session(peer="192.0.2.1", peer_port=50_000, ehlo="client.example")


def body(octets: int) -> Stuffed:
    """A body of about so many octets, the empty line before it included; the pieces are shared."""
    blocks, rest = divmod(max(octets, 1), len(_BLOCK))
    last = b"\r\n" + _LINE * -(-rest // len(_LINE))
    return Stuffed((last, *itertools.repeat(_BLOCK, blocks)), len(last) + blocks * len(_BLOCK))


def several(table: Sequence[str], first: int, many: int) -> tuple[str, ...]:
    """So many of a table, no two the same."""
    return tuple(table[(first + step) % len(table)] for step in range(many))


def _addresses(domains: Mapping[str, float], rng: random.Random) -> list[str]:
    """Addresses, each domain as often as it should come."""
    drawn = rng.choices(list(domains), list(domains.values()), k=ADDRESSES)
    return [f"user{number}@{domain}" for number, domain in enumerate(drawn)]


def _drawn(size: Size, rng: random.Random) -> int:
    return int(size.at(rng.gauss(0.0, 1.0)))
