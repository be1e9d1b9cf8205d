"""What is written about attempts and messages, without `logging`, which takes three times as long.

The text lines about mail that was delivered, which nearly all lines are, are made from the values
themselves, without a mapping of fields in between, and with what the line about a message shares with
that about its attempt made once: the two take 3 us together instead of 13, and are those of `text_line`,
to the letter.
"""

import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii

from smtp_router.cli.words import Format, quoted
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered, Stage
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from smtp_router.routing.journal import NAME, Journal

_FINAL = Stage.FINAL  # found once: a member of an enumeration takes longer to find than to compare
_MOST_KNOWN = 1000
"""Parts of lines that are kept; each message of a mailing may have a sender of its own."""


class FastJournal(Journal):
    """Writes lines of any form; see `smtp_router.routing.journal.Journal`."""

    def __init__(
        self,
        write: Callable[[str], None],
        as_line: Format,
        level: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is written yet.

        Args:
            write: takes lines, without their ends.
            as_line: makes them.
            level: below it nothing is written.
            clock: gives seconds since the epoch.
        """
        self._write = write
        self._as_line = as_line
        self._level = level
        self._clock = clock

    def writes(self, level: int) -> bool:
        """See `smtp_router.routing.journal.Journal`."""
        return level >= self._level

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        if level >= self._level:
            self._write(self._as_line(self._clock(), level, NAME, event, fields))


class QuickJournal(FastJournal):
    """Writes text lines, of the level `info` and above: no traces.

    The beginning of a line is made once a millisecond, and most of that once a second.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        as_line: Format,
        level: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """See `FastJournal`; lines that take a closer look are made by `as_line`."""
        super().__init__(write, as_line, level, clock)
        self._second = self._millisecond = -1
        self._time = self._begins = ""
        self._known: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._attempt: Attempt | None = None
        """Of which the rest is made."""
        self._mail_from = self._who = self._where = ""

    def attempt(self, message: Message, outgoing: Message, attempt: Attempt) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        if not self._reads(message, outgoing.mail_from, attempt):
            super().attempt(message, outgoing, attempt)
            return
        if (millisecond := int(self._clock() * 1000)) != self._millisecond:
            self._begin(millisecond)
        reply = attempt.outcome.reply
        assert reply is not None  # as was just read
        self._write(
            f"{self._begins} attempt id={message.id}{self._who}{len(outgoing.rcpt_tos)} "
            f"bytes={outgoing.size}{self._where}{reply.code} seconds={_rounded(attempt.seconds)} "
            f"reply={_in_quotes(reply)}"
        )

    def message(self, message: Message, trace: Trace, seconds: float) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        reply, attempts, mail_from = trace.reply, trace.attempts, message.mail_from
        if (
            reply is None
            or not attempts
            or trace.canary
            or not (
                (attempts[-1] is self._attempt and mail_from is self._mail_from)
                or self._reads(message, mail_from, attempts[-1])
            )
        ):
            super().message(message, trace, seconds)
            return
        if (millisecond := int(self._clock() * 1000)) != self._millisecond:
            self._begin(millisecond)
        self._write(
            f"{self._begins} message id={message.id}{self._who}{trace.recipients} "
            f"bytes={trace.size}{self._where}{reply.code} seconds={_rounded(seconds)} "
            f"attempts={len(attempts)} reply={_in_quotes(reply)}"
        )

    def _reads(self, message: Message, mail_from: str, attempt: Attempt) -> bool:
        """Make what the two lines have in common; `False`: they are none of the usual ones."""
        outcome, id_ = attempt.outcome, message.id
        if (
            outcome.__class__ is not Delivered
            or outcome.stage is not _FINAL
            or outcome.reply is None
            or outcome.reason
            or not (id_.isalnum() and id_.isascii())
        ):
            return False
        key = message.user, mail_from, attempt.downstream.name
        self._who, self._where = self._known.get(key) or self._learn(key)
        self._attempt, self._mail_from = attempt, mail_from
        return True

    def _learn(self, key: tuple[str, str, str]) -> tuple[str, str]:
        user, mail_from, name = map(quoted, key)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[key] = (
            f" user={user} mail_from={mail_from} recipients=",
            f" downstream={name} stage=final outcome=delivered code=",
        )
        return known

    def _begin(self, millisecond: int) -> None:
        second = millisecond // 1000
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._millisecond = millisecond
        self._begins = f"{self._time}.{millisecond % 1000:03}Z info   "


def _rounded(seconds: float) -> str:
    """`round(seconds, 4)`, of any time that a message may take, in a third of the time."""
    digits = f"{seconds:.4f}"
    if digits[-1] != "0":
        return digits
    shorter = digits.rstrip("0")
    return f"{shorter}0" if shorter[-1] == "." else shorter


def _in_quotes(reply: Reply) -> str:
    """`quoted`, of what nearly always has all its three parts, and so is more than one word."""
    if reply.enhanced and reply.text:
        return encode_basestring_ascii(f"{reply.code} {reply.enhanced} {reply.text}")
    return quoted(str(reply))
