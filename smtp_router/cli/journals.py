"""What is written about attempts and messages, without `logging`, which takes three times as long.

The lines about mail that was delivered, which nearly all lines are, are made from the values
themselves, without a mapping of fields in between, and with what the line about a message shares with
that about its attempt made once: the two take 3 us together instead of 13 as text and 28 in JSON, and
are those of `text_line` and `json_line`, to the letter. A message's id, of hexadecimal digits, is the
router's own, and stands as it is.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple

from smtp_router.cli.words import Format, quoted
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered, Stage
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from smtp_router.routing.journal import NAME, Journal

_FINAL = Stage.FINAL  # found once: a member of an enumeration takes longer to find than to compare
_OK = 250
_NEARLY = 0.99
"""Of a millisecond since the epoch: as a float it may be a rounding error short."""
_MOST_KNOWN = 1000
"""Parts of lines that are kept; each message of a mailing may have a sender of its own."""

_Key = tuple[str, str, int, str]
"""What two lines have in common: user, sender, how many recipients, downstream."""


class Form(NamedTuple):
    """What stands between the values in the lines about mail that was delivered."""

    begins: str
    """In front of the time, which has milliseconds and `Z`."""
    attempt: str
    """Between the time and the id, in the line about an attempt."""
    message: str
    """The same in the line about a message."""
    who: str
    """Between the id and the number of octets: a format of user, sender and how many recipients."""
    where: str
    """Between that and the seconds: a format of the downstream's name."""
    reply: str
    """In front of the reply, in the line about an attempt."""
    tries: str
    """The same in the line about a message: a format of how many attempts there were."""
    attempt_ends: str
    message_ends: str
    quoted: Callable[[str], str]


TEXT: Final = Form(
    begins="",
    attempt="Z info    attempt id=",
    message="Z info    message id=",
    who=" user={} mail_from={} recipients={} bytes=",
    where=" downstream={} stage=final outcome=delivered code=250 seconds=",
    reply=" reply=",
    tries=" attempts={} reply=",
    attempt_ends="",
    message_ends="",
    quoted=quoted,
)
_EVENT: Final = f'Z", "level": "info", "logger": "{NAME}", "event": '
JSON: Final = Form(
    begins='{"time": "',
    attempt=f'{_EVENT}"attempt", "id": "',
    message=f'{_EVENT}"message", "id": "',
    who='", "user": {}, "mail_from": {}, "recipients": {}, "bytes": ',
    where=', "downstream": {}, "stage": "final", "outcome": "delivered", "code": 250, "seconds": ',
    reply=', "reply": ',
    tries=', "attempts": {}, "reply": ',
    attempt_ends=', "reason": null}',
    message_ends=', "canary": null}',
    quoted=encode_basestring_ascii,
)


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
    """Writes lines of the level `info` and above: no traces.

    The time of day is put into words once a millisecond, by the clock that the router has read anyway,
    and most of it once a second.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        as_line: Format,
        form: Form,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """See `FastJournal`; lines that take a closer look are made by `as_line`, in the same form."""
        super().__init__(write, as_line, logging.INFO, clock)
        self._form = form
        self._before_attempt, self._before_message = form.attempt, form.message
        self._before_reply, self._attempt_ends = form.reply, form.attempt_ends
        self._after_one, self._message_ends = form.tries.format(1), form.message_ends
        self._second = -1
        self._to_the_second = self._time = ""
        self._until = -math.inf
        """So long lines have this time: an instant by the router's clock."""
        self._known: dict[_Key, tuple[str, str]] = {}
        self._attempt: Attempt | None = None
        """Of which the rest is made."""
        self._mail_from = self._who = self._where = ""
        self._recipients = 0

    def attempt(self, message: Message, outgoing: Message, attempt: Attempt, now: float) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        reply = self._taken(message, outgoing.mail_from, len(outgoing.rcpt_tos), attempt)
        if reply is None:
            super().attempt(message, outgoing, attempt, now)
            return
        self._line(
            self._before_attempt, message.id, outgoing.size, attempt.seconds,
            self._before_reply, reply, self._attempt_ends, now,
        )  # fmt: skip

    def message(self, message: Message, trace: Trace, seconds: float, now: float) -> None:
        """See `smtp_router.routing.journal.Journal`."""
        reply, attempts, mail_from = trace.reply, trace.attempts, message.mail_from
        if (
            reply is None
            or reply.code != _OK
            or not attempts
            or trace.canary
            or (
                (
                    (last := attempts[-1]) is not self._attempt
                    or mail_from is not self._mail_from
                    or trace.recipients != self._recipients
                )
                and self._taken(message, mail_from, trace.recipients, last) is None
            )
        ):
            super().message(message, trace, seconds, now)
            return
        tries = self._after_one if len(attempts) == 1 else self._form.tries.format(len(attempts))
        self._line(
            self._before_message, message.id, trace.size, seconds,
            tries, reply, self._message_ends, now,
        )  # fmt: skip

    def _taken(
        self, message: Message, mail_from: str, recipients: int, attempt: Attempt
    ) -> Reply | None:
        """Make what the two lines have in common; `None`: they are none of the usual ones.

        Returns:
            What the downstream has answered.
        """
        outcome = attempt.outcome
        reply = outcome.reply
        if (
            outcome.__class__ is not Delivered
            or reply is None
            or reply.code != _OK
            or outcome.stage is not _FINAL
            or outcome.reason
        ):
            return None
        key = message.user, mail_from, recipients, attempt.downstream.name
        self._who, self._where = self._known.get(key) or self._learn(key)
        self._attempt, self._mail_from, self._recipients = attempt, mail_from, recipients
        return reply

    def _learn(self, key: _Key) -> tuple[str, str]:
        user, mail_from, recipients, name = key
        in_quotes = self._form.quoted
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[key] = (
            self._form.who.format(in_quotes(user), in_quotes(mail_from), recipients),
            self._form.where.format(in_quotes(name)),
        )
        return known

    def _begin(self, now: float) -> None:
        milliseconds = self._clock() * 1000
        whole = int(milliseconds)
        self._until = now + (_NEARLY - (milliseconds - whole)) / 1000
        second, millisecond = divmod(whole, 1000)
        if second != self._second:
            self._second = second
            self._to_the_second = self._form.begins + time.strftime(
                "%Y-%m-%dT%H:%M:%S", time.gmtime(second)
            )
        self._time = f"{self._to_the_second}.{millisecond:03}"

    def _line(  # noqa: PLR0917 - with keywords it takes longer to call
        self,
        before: str,
        id_: str,
        size: int,
        seconds: float,
        between: str,
        reply: Reply,
        ends: str,
        now: float,
    ) -> None:
        """Write one of the two: `round(seconds, 4)`, and a reply whose code is 250, quoted.

        As a reply is printable ASCII, there is nothing in it to escape but these two.
        """
        if now >= self._until:
            self._begin(now)
        digits = f"{seconds:.4f}"
        if digits[-1] == "0":
            digits = digits.rstrip("0")
            if digits[-1] == ".":
                digits += "0"
        write = self._write  # called as a method, it would be looked up slowly
        enhanced, text = reply.enhanced, reply.text
        if enhanced and text and '"' not in text and "\\" not in text:
            write(
                f"{self._time}{before}{id_}{self._who}{size}{self._where}"
                f'{digits}{between}"250 {enhanced} {text}"{ends}'
            )
        else:
            write(
                f"{self._time}{before}{id_}{self._who}{size}{self._where}"
                f"{digits}{between}{self._form.quoted(str(reply))}{ends}"
            )
