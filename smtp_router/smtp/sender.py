"""The sender: one message to one downstream over real SMTP, recipients all or nothing."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Self

from smtp_router.config.pool import PoolLimits
from smtp_router.config.settings import DOWNSTREAM_KEYS, Downstream, Settings
from smtp_router.core.message import Message, on_the_wire
from smtp_router.core.outcome import InDoubt, Outcome
from smtp_router.routing.shield import carry_on
from smtp_router.smtp.alarm import Alarm
from smtp_router.smtp.blocks import ONE_WRITE_OCTETS
from smtp_router.smtp.channel import Channel, Result
from smtp_router.smtp.client_tls import ClientTLS
from smtp_router.smtp.handover import Handover, Terms
from smtp_router.smtp.keeper import House, Keeper
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.parameters import envelope
from smtp_router.smtp.received import Stamp
from smtp_router.smtp.verdict import AttemptEnded, judge_by
from smtp_router.tokens.tokens import Tokens

MAX_CONNECTIONS = 1000

_NO_MATTER = frozenset({"name", "options", "provider", "limits", "replies"})
_KEYS = sorted(DOWNSTREAM_KEYS - _NO_MATTER)
"""What of a downstream's settings makes a difference to a connection: all but a few."""


class SmtpSender:
    """Sends messages, over connections that it keeps."""

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        part: Callable[[PoolLimits], PoolLimits] = lambda limits: limits,
    ) -> None:
        """Nothing is open yet.

        Args:
            max_connections: with so many in all, an idle one is closed before another is opened.
            part: what of a pool's limits is for this process, if others send to the same downstreams.
        """
        self._part = part
        self._max_connections = max_connections
        self._keepers: dict[Hashable, Keeper] = {}
        self._ways: dict[int, _Way] = {}
        self._stamp = Stamp("")
        self._retained: Settings | None = None
        self._wanted: frozenset[Hashable] = frozenset()
        self._shared: House | None = None

    def __repr__(self) -> str:
        """All pools."""
        return f"<SmtpSender {[keeper.pool for keeper in self._keepers.values()]}>"

    @property
    def outbox(self) -> Outbox:
        """Where it writes; there is one as soon as an event loop runs."""
        return self._house().outbox

    async def send(
        self,
        message: Message,
        downstream: Downstream,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Try to deliver; see `smtp_router.routing.ports.Sender`.

        A kept connection that turns out to be dead before it has answered MAIL says nothing about the
        downstream, so the message goes over a fresh one within the same attempt.
        """
        way = self._ways.get(id(downstream))  # by identity, since values take time to compare
        if way is None or way.settings is not settings:
            way = self._way(downstream, settings)
        keeper = way.keeper
        stuffed = on_the_wire(message)
        received = way.stamp.field(message)
        size = len(received) + stuffed.size
        pieces = [received, *stuffed.pieces, b".\r\n"]
        content = b"".join(pieces) if size <= ONE_WRITE_OCTETS else pieces
        now = keeper.now()
        channel = keeper.pool.at_hand(now)
        kept, fresh = True, False
        try:
            while True:
                if channel is None:
                    channel = await keeper.lend(downstream, settings.timeouts, until, fresh=fresh)
                    kept, now = keeper.is_used(channel), keeper.now()
                try:
                    handover = Handover(
                        envelope(channel.peer, message, size),
                        message.rcpt_tos,
                        content,
                        channel.peer,
                        way.terms,
                        until,
                        deadline,
                        on_final,
                    )
                except BaseException:
                    keeper.ready(channel)
                    raise
                result = channel.begin(handover, now)
                try:
                    outcome = await result
                except asyncio.CancelledError:
                    left = channel.cancelled(handover) if result.cancelled() else result
                    if left is None or (handover.is_dead and kept):
                        raise
                    outcome = await _to_the_end(channel, handover, left)
                if not (handover.is_dead and kept):
                    return outcome
                channel, fresh = None, True
        except AttemptEnded as ended:
            return ended.outcome

    async def retain(self, settings: Settings) -> None:
        """Keep connections only for what these settings have, and close what is idle of others."""
        if settings is self._retained:
            return
        wanted = await asyncio.to_thread(_Wanted.of, settings)  # there may be thousands
        self._wanted = wanted.keys
        self._retained = settings
        self._ways.clear()
        for key, keeper in tuple(self._keepers.items()):
            if key not in self._wanted:
                keeper.retire()
                if keeper.pool.is_empty:
                    del self._keepers[key]
        if self._shared is not None:
            self._shared.contexts.retain(wanted.tls)
            self._shared.tokens.retain(wanted.credentials)

    def refresh(self) -> None:
        """Take up client certificates that have changed."""
        if self._shared is not None:
            self._shared.contexts.refresh()

    async def close(self) -> None:
        """Say good-bye on every connection, briefly, and wait until all are closed."""
        for keeper in self._keepers.values():
            keeper.retire()
        self._keepers.clear()
        self._ways.clear()
        channels = tuple(self._shared.channels) if self._shared else ()
        for channel in channels:
            channel.hurry()
        await asyncio.gather(*(channel.closed() for channel in channels))
        if self._shared:
            await self._shared.tokens.close()

    def _way(self, downstream: Downstream, settings: Settings) -> "_Way":
        if self._stamp.hostname != settings.hostname:
            self._stamp = Stamp(settings.hostname)
        keeper = self._keeper(downstream, settings.hostname)
        terms = Terms(judge_by(downstream.rules), settings.timeouts)
        self._house().alarm.every(terms.shortest_s)
        way = _Way(downstream, settings, keeper, self._stamp, terms)
        self._ways[id(downstream)] = way
        return way

    def _keeper(self, downstream: Downstream, hostname: str) -> Keeper:
        key = _key(downstream, hostname)
        keeper = self._keepers.get(key)
        if keeper is None:
            keeper = Keeper(downstream, hostname, self._house(), self._make_room)
            if self._retained is not None and key not in self._wanted:  # an epoch that is past
                keeper.retire()
            self._keepers[key] = keeper
        return keeper

    def _house(self) -> House:
        if self._shared is None:
            loop = asyncio.get_running_loop()
            self._shared = House(
                loop=loop,
                alarm=Alarm(loop),
                tokens=Tokens(loop),
                outbox=Outbox(loop),
                part=self._part,
            )
        return self._shared

    def _make_room(self) -> None:
        if self._keepers and len(self._house().channels) >= self._max_connections:
            min(self._keepers.values(), key=lambda keeper: keeper.pool.idle_since).evict()


def _key(downstream: Downstream, hostname: str) -> Hashable:
    """What two downstreams have in common if they can share connections: all that matters, by value."""
    return hostname, *(getattr(downstream, key) for key in _KEYS)


@dataclass(frozen=True, slots=True)
class _Way:
    """What is the same for all messages that go to a downstream."""

    downstream: Downstream
    """While it is held here, no other has its identity."""
    settings: Settings
    keeper: Keeper
    stamp: Stamp
    terms: Terms


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is kept for the sake of some settings."""

    keys: frozenset[Hashable]
    tls: frozenset[ClientTLS]
    credentials: frozenset[Hashable]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """All that they name."""
        downstreams = [downstream for user in settings.users for downstream in user.downstreams]
        return cls(
            keys=frozenset(_key(downstream, settings.hostname) for downstream in downstreams),
            tls=frozenset(map(ClientTLS.of, downstreams)),
            credentials=frozenset(one.auth.credential for one in downstreams if one.auth is not None),
        )


async def _to_the_end(channel: Channel, handover: Handover, result: Result) -> Outcome:
    """Wait for an outcome that has to be known, whoever is cancelled."""
    try:
        return await carry_on(result)
    except asyncio.CancelledError:
        channel.abandon(handover)
        return handover.outcome or InDoubt(reason="the router was stopped")
