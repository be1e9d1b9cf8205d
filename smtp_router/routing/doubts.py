"""Messages that may have arrived although their client does not know it, or does not know it for sure.

A client that got no answer, or a 4yz, sends its message again (RFC 1047). Then it is found here:

| what happened the first time | what happens the second time |
|---|---|
| a downstream took it, and its client was gone before it could be told | `250`, nothing is delivered |
| the same, and it is still on its way | the second one waits for what becomes of the first |
| the connection to a downstream was lost behind the final dot | that one is tried first, and logged |

Rules:
1. A second copy is a nuisance, a lost message a loss: whatever is not certain is delivered.
2. What is answered without being delivered is answered once, and is struck off in writing before that.
3. As long as nothing is in doubt, a message costs one look at an empty table.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from smtp_router.core.clock import Clock
from smtp_router.core.fingerprint import Fingerprint, Outline, fingerprint, outline
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.routing.memory import Book, Memory
from smtp_router.state.doubts import Doubt, Kind

log = logging.getLogger(__name__)

News = Mapping[str, Any]
"""What neighbours tell each other, as JSON has it."""

AT_ONCE_OCTETS = 256 * 1024
"""Bigger messages are read in a thread: this takes a quarter of a millisecond."""
LOGGED_RECIPIENTS = 20
"""How many of them a line of the log names."""
LOGGED_CHARACTERS = 200
"""How much of a Message-ID it has."""
SETTLED_S = 0.1
"""How long after a message's end it is said to others that it has ended: its session has noticed by then
that nobody has heard the reply."""


@dataclass(slots=True)
class Counts:
    """How often it has happened since the start."""

    in_doubt: int = 0
    """Messages whose final dot a downstream did not answer."""
    copies: int = 0
    """Messages that were delivered although they may have been before."""
    unheard: int = 0
    """Deliveries that the client could not be told of."""
    damped: int = 0
    """Messages that were answered `250` because they had been delivered before."""


@dataclass(slots=True)
class _Orphan:
    """A message on its way whose client has gone."""

    message: Message
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    key: str = ""
    """Of its fingerprint, when somebody has asked for it."""


@dataclass(slots=True)
class _Elsewhere:
    """An orphan of a neighbour's."""

    by: int
    seen: Outline
    key: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Doubts:
    """The doubts there are; memory that the router asks for each message."""

    def __init__(
        self,
        clock: Clock,
        book: Book | None = None,
        known: Iterable[Doubt] = (),
        tell: Callable[[News], None] | None = None,
    ) -> None:
        """Begin with what is known already.

        Args:
            clock: time; what is in memory does not care whether somebody sets the one on the wall.
            book: where they outlive the process; without one they do not.
            known: what is in it, the first to be forgotten first.
            tell: tells other processes with the same book what they have to know: `hear` takes it.
        """
        self.counts = Counts()
        self._clock = clock
        self._memory = Memory(clock, book, known, self._share if tell else None)
        self._tell = tell
        self.known: Counter[Outline] = self._memory.outlines
        """What messages look like that it is worth while to ask `find` about: those in doubt, and those
        that orphans and tasks are about. While it is empty, nobody need ask anything."""
        self.orphans: dict[str, _Orphan] = {}
        """Messages that are on their way without their clients, by their ids."""
        self._elsewhere: dict[str, _Elsewhere] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._saying: set[asyncio.Task[None]] = set()

    # What the router asks

    def may_know(self, message: Message) -> bool:
        """Whether it is worth while to ask `find`."""
        return outline(message) in self.known

    def is_settled(self, message: Message) -> bool:
        """Whether `find` has nothing to wait for."""
        return not (self.orphans or self._elsewhere or self._tasks) and message.size <= AT_ONCE_OCTETS

    async def find(self, message: Message) -> Doubt | None:
        """The doubt about a message that was here before.

        If that one is still on its way, and nobody is left to hear of it, this waits for its end.
        """
        key = (await _fingerprint(message)).key
        for orphan in tuple(self.orphans.values()):
            other = orphan.message
            if other is message or outline(other) != outline(message):
                continue
            if not orphan.key:
                orphan.key = (await _fingerprint(other)).key
            if orphan.key == key:
                await orphan.ended.wait()
        for one in tuple(self._elsewhere.values()):
            if one.seen == outline(message) and one.key == key:
                await one.ended.wait()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        return self._memory.get(key)

    async def take(self, doubt: Doubt) -> bool:
        """Strike off a delivery that was not heard of; whether the caller may speak for it now.

        It may not if somebody else has done so. Nor if that cannot be written down: then it would be
        found again after a restart, for a message that nobody would deliver.
        """
        return await self._memory.take(doubt)

    def forget(self, doubt: Doubt) -> None:
        """What became of the message is known, or does not matter any more."""
        self._begin(self._memory.forget(doubt))

    # What the router tells

    def in_doubt(
        self, message: Message, downstreams: Sequence[str], reply: Reply | None, *, for_s: float
    ) -> None:
        """The final dot of a message was not answered.

        Args:
            message: which, as the client gave it.
            downstreams: who may have it; the last one is preferred the next time.
            reply: what the client hears, if anything; after a positive one there is no next time.
            for_s: for how long that is remembered, in seconds.
        """
        self.counts.in_doubt += 1
        fields: dict[str, object] = {
            "downstream": ", ".join(downstreams),
            "mail_from": message.mail_from,
            "rcpt_tos": " ".join(message.rcpt_tos[:LOGGED_RECIPIENTS]),
            "recipients": len(message.rcpt_tos),
            "bytes": message.size,
            "code": reply.code if reply else None,
            "count": self.counts.in_doubt,
        }
        if reply is not None and reply.is_positive:
            for_s = 0.0
        work = self._note(message, Kind.IN_DOUBT, downstreams[-1], for_s=for_s, fields=fields)
        self._begin(work, about=message)

    def already_delivered(self, message: Message, doubt: Doubt) -> None:
        """A message is answered `250` without being delivered."""
        self.counts.damped += 1
        fields = _seen_before(message, doubt) | {"count": self.counts.damped}
        log.info("already delivered", extra={"fields": fields})

    def second_copy(self, message: Message, doubt: Doubt) -> None:
        """A message is delivered although it may have been before."""
        self.counts.copies += 1
        fields = _seen_before(message, doubt) | {
            "downstream": doubt.downstream or None,
            "count": self.counts.copies,
        }
        log.warning("may be a second copy", extra={"fields": fields})

    def ended(self, message: Message) -> None:
        """A message is not on its way any more."""
        if orphan := self.orphans.pop(message.id, None):
            self._over(outline(message))
            orphan.ended.set()
            if self._tell is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(SETTLED_S, lambda: self._say(self._say_over(message.id)))

    # What the session tells

    def left(self, message: Message) -> None:
        """The client of a message that is on its way has gone."""
        if message.id not in self.orphans:
            self.orphans[message.id] = _Orphan(message)
            self.known[outline(message)] += 1
            if self._tell is not None:
                self._say(self._say_left(message))

    def unheard(self, message: Message, *, for_s: float) -> None:
        """A message was delivered, and its client could not be told."""
        self.counts.unheard += 1
        self._begin(self._note(message, Kind.UNHEARD, for_s=for_s), about=message)

    # What neighbours tell

    def hear(self, news: News, by: int) -> None:
        """A neighbour has said this; `by` is its number."""
        if "doubt" in news:
            self._memory.hear(Doubt(**news["doubt"] | {"kind": Kind(news["doubt"]["kind"])}))
        elif "left" in news:
            seen = Outline(news["user"], news["size"])
            self._elsewhere[news["left"]] = _Elsewhere(by, seen, news["key"])
            self.known[seen] += 1
        elif one := self._elsewhere.pop(news["over"], None):
            self._over(one.seen)
            one.ended.set()

    def lost(self, by: int) -> None:
        """A neighbour has died: of what was on its way there nobody will hear."""
        for number in [number for number, one in self._elsewhere.items() if one.by == by]:
            self.hear({"over": number}, by)

    async def close(self) -> None:
        """See that all is written."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._memory.retry()

    # How it is done

    async def _note(
        self,
        message: Message,
        kind: Kind,
        downstream: str = "",
        *,
        for_s: float,
        fields: dict[str, object] | None = None,
    ) -> None:
        """Read the message; log it, if there are fields for that, and remember it, if for any time."""
        found = await _fingerprint(message)
        if fields is not None:
            names = {"fingerprint": found.key, "digest": found.digest}
            log.warning("in doubt", extra={"fields": _who(message) | names | fields})
        if for_s:
            made = self._clock.wall().timestamp()
            doubt = Doubt(
                key=found.key,
                user=message.user,
                size=message.size,
                kind=kind,
                id=message.id,
                downstream=downstream,
                made=made,
                until=made + for_s,
            )
            del message  # nobody needs its content while the disk takes its time
            await self._memory.put(doubt, for_s=for_s)

    def _share(self, doubt: Doubt) -> None:
        assert self._tell is not None
        self._tell({"doubt": asdict(doubt)})

    def _say(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _say_left(self, message: Message) -> None:
        found, seen = await _fingerprint(message), outline(message)
        if message.id in self.orphans and self._tell is not None:
            self._tell({"left": message.id, "user": seen.user, "size": seen.size, "key": found.key})

    async def _say_over(self, number: str) -> None:
        """Only when what is known of it is in the book, and others have been told."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self._tell is not None:
            self._tell({"over": number})

    def _begin(self, work: Coroutine[Any, Any, None], *, about: Message | None = None) -> None:
        """Begin work; until it is done, who asks for this message, or one that looks so, waits."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if about is not None:
            seen = outline(about)
            self.known[seen] += 1
            task.add_done_callback(lambda _: self._over(seen))

    def _over(self, seen: Outline) -> None:
        self.known[seen] -= 1
        if not self.known[seen]:
            del self.known[seen]


async def _fingerprint(message: Message) -> Fingerprint:
    if message.size <= AT_ONCE_OCTETS:
        return fingerprint(message)
    return await asyncio.to_thread(fingerprint, message)


def _who(message: Message) -> dict[str, object]:
    named = message.headers.get("Message-ID")
    return {
        "id": message.id,
        "user": message.user,
        "message_id": named[:LOGGED_CHARACTERS] if named else None,
    }


def _seen_before(message: Message, doubt: Doubt) -> dict[str, object]:
    return _who(message) | {"first": doubt.id, "fingerprint": doubt.key}
