"""What was decided about one message, and why: kept as it happens, put into words when somebody asks.

Every message has a trace, and the last ones are kept. So it holds what is at hand anyway, and nothing
that holds the message's content.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import NamedTuple

from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt
from smtp_router.core.reply import Reply

MAX_NOTES = 100
"""For one message. More, and its trace could cost more than the message."""
MAX_NOTE_CHARS = 500
MAX_RECIPIENTS = 10
"""So many are named, the others counted."""


class LeftOut(NamedTuple):
    """A downstream that was not offered to the plugins."""

    downstream: str
    why: str


Who = tuple[str, str]
"""A plugin's name, and which of its hooks it is."""
Word = tuple[Who, str | None, bool]
"""Who has said what, and whether that is a note on how the answer was found, not the answer.

An answer is a downstream's name, `changed` or an exception; `None`: no opinion."""

MAX_ANSWERS = 100
"""Of one hook, that are kept."""


class Answers(dict[str | None, Word]):
    """What one plugin's hook answers, each answer once: the last thousand traces share them.

    Nearly all answers are the same few, and a trace is dropped when it has gone cold, with all that it
    has for itself.
    """

    __slots__ = ("who",)

    def __init__(self, who: Who) -> None:
        """It has said nothing yet."""
        super().__init__()
        self.who: Who = who

    def __missing__(self, answer: str | None) -> Word:
        """An answer that is not kept."""
        if len(self) >= MAX_ANSWERS:
            self.clear()
        word = self[answer] = self.who, answer, False
        return word


class Round(NamedTuple):
    """One turn of the router's loop: who was offered, what the plugins said, what came of it."""

    offered: Sequence[Downstream]
    """Whom the plugins were offered."""
    left_out: Sequence[LeftOut]
    """Whom they were not."""
    words: Sequence[Word]
    """In the order in which they were said."""
    attempt: Attempt | None


class Trace:
    """All rounds of one message; nearly always there is one, which is made when somebody asks."""

    __slots__ = (
        "_earlier",
        "_notes",
        "at",
        "attempts",
        "canary",
        "id",
        "left_out",
        "mail_from",
        "offered",
        "rcpt_tos",
        "recipients",
        "reply",
        "size",
        "user",
        "words",
    )

    def __init__(self, message: Message) -> None:
        """Nothing has happened yet."""
        self.id: str = message.id
        self.user: str = message.user
        self.at: datetime = message.received_at
        self.mail_from: str = message.mail_from
        rcpt_tos = message.rcpt_tos
        self.recipients: int = len(rcpt_tos)
        self.rcpt_tos: tuple[str, ...] = (
            rcpt_tos if self.recipients <= MAX_RECIPIENTS else rcpt_tos[:MAX_RECIPIENTS]
        )
        self.size: int = message.size
        self.attempts: list[Attempt] = []
        """All there were, oldest first."""
        self._earlier: tuple[Round, ...] = ()
        self.offered: Sequence[Downstream] | None = None
        """By the last round; `None`: there is none yet."""
        self.left_out: Sequence[LeftOut] = ()
        self.words: list[Word] = []
        """The last round's: what is said is added here."""
        self.reply: Reply | None = None
        """What the client was answered; `None` before that, or if it has gone away."""
        self.canary: str = ""
        """The plugin that has chosen in place of the user's algorithm, if one has."""
        self._notes = 0

    def begin(self, offered: Sequence[Downstream], left_out: Sequence[LeftOut]) -> None:
        """The plugins are about to be asked; before this, none is called."""
        if self.offered is not None:
            self._earlier = self.rounds
            self.words = []
        self.offered = offered
        self.left_out = left_out

    @property
    def rounds(self) -> tuple[Round, ...]:
        """All there were, oldest first."""
        earlier, offered = self._earlier, self.offered
        if offered is None:
            return earlier
        tried = sum(one.attempt is not None for one in earlier)
        attempt = self.attempts[tried] if tried < len(self.attempts) else None
        return (*earlier, Round(offered, self.left_out, self.words, attempt))

    def noted(self, who: Who, text: str) -> None:
        """A plugin says why."""
        self._notes += 1
        if self._notes <= MAX_NOTES:
            self.words.append((who, str(text)[:MAX_NOTE_CHARS], True))

    def told(self) -> dict[str, object]:
        """The trace as JSON has it; `docs/explain.md` has the keys."""
        return {
            "id": self.id,
            "user": self.user,
            "time": self.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "mail_from": self.mail_from,
            "rcpt_tos": list(self.rcpt_tos),
            "recipients": self.recipients,
            "bytes": self.size,
            "canary": self.canary or None,
            "rounds": [_told(one) for one in self.rounds],
            "reply": str(self.reply) if self.reply else None,
        }


def _told(one: Round) -> Mapping[str, object]:
    said: dict[Who, dict[str, object]] = {}
    notes: dict[Who, list[str | None]] = {}
    for who, text, is_note in one.words:
        if who not in said:
            plugin, hook = who
            notes[who] = []
            said[who] = {"plugin": plugin, "hook": hook, "answer": None, "notes": notes[who]}
        if is_note:
            notes[who].append(text)
        else:
            said[who]["answer"] = text
    return {
        "offered": [downstream.name for downstream in one.offered],
        "left_out": [left_out._asdict() for left_out in one.left_out],
        "plugins": list(said.values()),
        "attempt": _attempt(one.attempt) if one.attempt else None,
    }


def _attempt(attempt: Attempt) -> Mapping[str, object]:
    outcome = attempt.outcome
    return {
        "downstream": attempt.downstream.name,
        "outcome": str(outcome.kind),
        "stage": str(outcome.stage),
        "reply": str(outcome.reply) if outcome.reply else None,
        "reason": outcome.reason or None,
        "seconds": round(attempt.seconds, 4),
    }


speaking: ContextVar[tuple[Trace, Who] | None] = ContextVar("smtp_router_speaking", default=None)
"""Whose notes those are that are made from now on: for which message, by which plugin's hook. Tasks have
theirs of their own."""

# Found once: to look up a method of what is imported makes an object each time.
speak: Callable[[tuple[Trace, Who] | None], Token[tuple[Trace, Who] | None]] = speaking.set


@contextmanager
def speaking_as(who: Who) -> Iterator[Trace | None]:
    """Let another plugin speak for a while; gives the trace, if there is one."""
    before = speaking.get()
    trace = before[0] if before else None
    speaking.set((trace, who) if trace else None)
    try:
        yield trace
    finally:
        speaking.set(before)


def note(text: str) -> None:
    """Say why, from within a hook: for `smtp-router explain`, `smtp-router trace` and the debug log.

    Where no hook is being called for a message, it does nothing.

    Args:
        text: one line; after 500 characters it is cut, and after 100 notes for one message they are.
    """
    now = speaking.get()
    if now is not None:
        trace, who = now
        trace.noted(who, text)
