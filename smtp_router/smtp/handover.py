"""One message's way over one connection, from MAIL to the reply to the final dot. No I/O.

`say` holds what to write first; `on_reply` takes one reply after the other and says what is next.

Rules:
1. With PIPELINING, MAIL and every RCPT go out together, and for a single recipient DATA, too; without
   it, one command at a time. With several recipients DATA waits until all are taken: all or none.
2. A refusal is the outcome as soon as nothing can outweigh it; what is still owed is read after that.
3. Where DATA went out along with a RCPT that was refused, and the downstream asks for the content all
   the same, the connection is closed, which cancels a transaction (RFC 5321 4.1.1.10). The lone dot of
   RFC 2920 3.1 would complete one, and a downstream that far out of step might deliver an empty message.
4. A connection is used again only when every command is answered, and no more than that; and not after
   a reply about the router's login, which the next message would hear as well.

Source: RFC 5321 4.1.1, RFC 2920 3.1.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from smtp_router.config.settings import Timeouts
from smtp_router.core.layout import laid_out
from smtp_router.core.outcome import (
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    Rejected,
    Stage,
    delivered,
)
from smtp_router.core.reply import plain_reply
from smtp_router.smtp.blocks import Block
from smtp_router.smtp.parameters import Peer
from smtp_router.smtp.reply_reader import text_of
from smtp_router.smtp.verdict import (
    LOGIN_CODES,
    Judge,
    name_recipient,
    together,
    unexpected,
)

START_INPUT = 354
CLOSING = 421
OUT_OF_STEP = "a reply that belongs to no command"

_RSET = b"RSET\r\n"

_GO_AHEAD = re.compile(2 * rb"2[0-9][0-9] [ -\xff]{0,999}+\r\n" + rb"354 [ -\xff]{0,999}+\r\n")
"""A class of one range takes half of the time that one takes of all but two."""


class Next(Enum):
    """What a reply leads to."""

    WAIT = auto()
    """More replies are owed."""
    SAY = auto()
    """Write `say`."""
    CONTENT = auto()
    """Send the content, and set `dot_is_out` when the last of it is handed over."""
    KEEP = auto()
    """All is said; the connection can be used again."""
    QUIT = auto()
    """All is said; say good-bye."""
    CLOSE = auto()
    """Close the connection at once."""


class Terms:
    """What is the same for all messages that go to a downstream."""

    def __init__(self, judge: Judge, timeouts: Timeouts) -> None:
        """Keep them.

        Args:
            judge: says what the downstream's replies mean.
            timeouts: per stage, in seconds.
        """
        self.judge = judge
        self.timeouts = timeouts
        self.shortest_s = min(timeouts.mail_s, timeouts.rcpt_s, timeouts.data_s, timeouts.final_s)
        """Of all these, how long the shortest is."""
        self.go_ahead = b""
        """The last segment that had all replies up to DATA: most downstreams say the same each time."""


@laid_out
class Handover:
    """MAIL, RCPT, DATA, content, and what became of it."""

    answered: int = 0
    """How many replies have come."""
    outcome: Outcome | None = None
    """What became of the message, as soon as that is certain."""
    is_dead: bool = False
    """Whether the connection ended before MAIL was answered. If it was a kept one, that says nothing."""
    dot_is_out: bool = False
    """Whether all of the content was handed over to the system."""
    _said: int = 3
    """How many commands went out: MAIL, a single RCPT and DATA, as nearly always."""
    _data: int = 2
    """How many replies come before the one to DATA."""
    _is_resetting: bool = False
    _parts: bool = False
    _refusals: int = 0
    _refusal: Outcome | None = None
    _finals: tuple[Outcome, ...] = ()
    _rest: Iterator[str]
    """What is still to be said, where not all went out at once."""

    def __init__(  # noqa: PLR0917 - with keywords a class takes 0.15 us longer to call
        self,
        envelope: str,
        recipients: Sequence[str],
        content: bytes | Block,
        peer: Peer,
        terms: Terms,
        until: float,
        deadline: float,
        on_final: Callable[[], None],
    ) -> None:
        """Be ready to begin.

        Args:
            envelope: MAIL and every RCPT, as command lines with CRLF.
            recipients: whose RCPT they are, for the outcome.
            content: wire octets, the final dot with its CRLF at their end; in pieces, or at once.
            peer: the downstream. By LMTP each recipient gets a reply to the content (RFC 2033 4.2).
            terms: the same for all that goes there.
            until: the instant by which the final dot must be out; not behind the deadline.
            deadline: the instant by which the outcome must be known.
            on_final: to be called right before the final dot goes out.
        """
        self._recipients = recipients
        self.content = content
        self._peer = peer
        self.terms = terms
        self.until = until
        self._deadline = deadline
        self.on_final = on_final
        if "pipelining" not in peer.extensions:
            self._data, self._said = 1 + len(recipients), 0
            self._rest = iter(f"{envelope}DATA".split("\r\n"))
            self._say_more()
        elif len(recipients) == 1:
            self.say = f"{envelope}DATA\r\n".encode()
        else:
            self._data = self._said = 1 + len(recipients)
            self._rest = iter(("DATA",))
            self.say = envelope.encode()

    def due(self, since: float) -> float:
        """The instant by which the next reply has to be there.

        Args:
            since: since when it is owed.
        """
        end = self._deadline if self.dot_is_out else self.until
        return min(since + self.limit_s(), end)

    def limit_s(self) -> float:
        """How long the next reply may take; while the content is being sent, nothing is owed."""
        timeouts = self.terms.timeouts
        if self.answered == 0:
            return timeouts.mail_s
        if self.answered < self._data or self._is_resetting:
            return timeouts.rcpt_s
        if self.answered == self._data:
            return timeouts.data_s
        return timeouts.final_s if self.dot_is_out else math.inf

    def goes_ahead(self, octets: bytes) -> bool:
        """Take a segment, if it has all replies up to DATA's, and the content is next.

        This and `taken` are for what nearly always comes: each reply that is owed, in one line. They
        need a third of the time that the `ReplyReader` and `on_reply` do, which read it to the same end,
        and presume that no part of a reply has come before.
        """
        if self.answered or self._said <= self._data:
            return False
        terms = self.terms
        if octets != terms.go_ahead:
            if not _GO_AHEAD.fullmatch(octets):
                return False
            terms.go_ahead = octets
        self.answered = self._said
        return True

    def taken(self, octets: bytes) -> Outcome | None:
        """Take a segment that has come behind the dot, if it says that the message is delivered.

        Returns:
            The outcome: all is said, and the connection can be used again; or `None`.
        """
        if self._parts or self._peer.is_lmtp:
            return None
        reply = plain_reply(octets)
        if reply is None:
            return None
        self.outcome = outcome = delivered(reply)
        return outcome

    def on_reply(self, code: int, octets: bytes) -> Next:
        """Take a reply."""
        position = self.answered
        self.answered = position + 1
        if self._is_resetting:
            return Next.KEEP if 200 <= code < 300 else Next.CLOSE  # noqa: PLR2004
        if position < self._data:
            if self._refusal is None and self.answered < self._said and 200 <= code < 300:  # noqa: PLR2004
                return Next.WAIT  # as nearly always
            return self._on_envelope(position, code, octets)
        if position == self._data:
            return self._on_data(code, octets)
        return self._on_final(code, octets)

    def part(self) -> None:
        """Do not use the connection again, however this ends."""
        self._parts = True

    def lost(self, reason: str) -> None:
        """The connection is of no use any more; an outcome that is certain stays."""
        self.is_dead = self.is_dead or self.answered == 0
        self.failed(reason)

    def failed(self, reason: str) -> None:
        """Waiting is over, or pointless; an outcome that is certain stays."""
        self._end(reason, self._stage_of(self.answered))

    def out_of_step(self) -> None:
        """There is more than was asked for, behind the reply that came last."""
        self._end(OUT_OF_STEP, self._stage_of(self.answered - 1))

    def _end(self, reason: str, stage: Stage) -> None:
        if self.outcome is not None:
            return
        if self._refusal is not None:
            self.outcome = self._refusal
        elif stage is not Stage.FINAL:
            self.outcome = Deferred(stage=stage, reason=reason)
        elif self.dot_is_out:
            self.outcome = InDoubt(reason=reason)
        else:
            self.outcome = Deferred(stage=Stage.DATA, reason=reason)

    def _stage_of(self, position: int) -> Stage:
        if position == 0:
            return Stage.MAIL
        if position < self._data:
            return Stage.RCPT
        return Stage.DATA if position == self._data else Stage.FINAL

    def _say_more(self) -> Next:
        """Say the next command."""
        self._said += 1
        self.say = f"{next(self._rest)}\r\n".encode()
        return Next.SAY

    def _on_envelope(self, position: int, code: int, octets: bytes) -> Next:
        """MAIL or RCPT is answered."""
        if not 200 <= code < 300:  # noqa: PLR2004
            self._refused(position, code, octets)
            if not _goes_on(code):
                return self._close()
        last = position + 1 == self._data
        if last and self.outcome is None:
            self.outcome = self._refusal
        if self._said > self.answered:
            return Next.WAIT
        if (last or position == 0) and self.outcome is not None:
            return self._over()
        return self._say_more()

    def _refused(self, position: int, code: int, octets: bytes) -> None:
        """Remember a refusal; one for good outweighs any that are transient, whatever their order."""
        self._refusals += 1
        stage = self._stage_of(position)
        if position == 0 and code == CLOSING:
            self.is_dead = True  # it was closing before it was asked
        if code in LOGIN_CODES:
            self._parts = True
        if self.outcome is not None:
            return
        outcome = self.terms.judge(stage, code, text_of(octets))
        assert outcome is not None  # only 2yz is no outcome here
        if position > 0:
            outcome = name_recipient(outcome, self._recipients[position - 1])
        if position == 0 or isinstance(outcome, Rejected):
            self.outcome = outcome
        elif self._refusal is None:
            self._refusal = outcome

    def _on_data(self, code: int, octets: bytes) -> Next:
        if self.outcome is None:
            if code == START_INPUT:
                return Next.CONTENT
            text = text_of(octets)
            outcome = self.terms.judge(Stage.DATA, code, text)
            self.outcome = outcome or unexpected(Stage.DATA, code, text)
            self._parts = code in LOGIN_CODES
        return self._over() if _goes_on(code) else Next.CLOSE

    def _on_final(self, code: int, octets: bytes) -> Next:
        text = text_of(octets)
        outcome = self.terms.judge(Stage.FINAL, code, text)
        if not self.dot_is_out:
            is_refusal = isinstance(outcome, Deferred | Rejected)
            self.outcome = outcome if is_refusal else unexpected(Stage.DATA, code, text)
            return Next.CLOSE
        assert outcome is not None  # behind the dot, any reply is one
        goes_on = isinstance(outcome, Delivered) or _goes_on(code)
        if self._peer.is_lmtp:
            self._finals += (outcome,)
            if goes_on and len(self._finals) < len(self._recipients):
                return Next.WAIT
            outcome = together(self._finals, self._recipients)
        self.outcome = outcome
        if not goes_on:
            return Next.CLOSE
        return Next.QUIT if self._parts or code in LOGIN_CODES else Next.KEEP

    def _over(self) -> Next:
        """There will be no content; what was begun is taken back."""
        if self._parts:
            return Next.QUIT
        if self._refusals == min(self.answered, self._data):
            return Next.KEEP  # nothing was begun
        self._is_resetting = True
        self.say = _RSET
        return Next.SAY

    def _close(self) -> Next:
        if self.outcome is None:
            self.outcome = self._refusal
        return Next.CLOSE


def _goes_on(code: int) -> bool:
    """Whether a connection is of use after such a refusal."""
    return code >= 400 and code != CLOSING  # noqa: PLR2004
