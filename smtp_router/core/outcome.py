"""What became of one attempt: a value, never an exception.

`Outcome = Delivered | Deferred | Rejected | InDoubt`. Codes are read once, where the wire is
(`smtp_router.smtp`); from there on only these four words count.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from smtp_router.core.downstream import Downstream
from smtp_router.core.draft import draft_of
from smtp_router.core.reply import Reply


class Stage(StrEnum):
    """How far an attempt came; the stages of RFC 5321 in their order."""

    CONNECT = "connect"
    """The connection and the downstream's banner."""
    TLS = "tls"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """The DATA command and the content, until the final dot is on its way."""
    FINAL = "final"
    """After the final dot: the downstream has everything, its reply decides."""


_FINAL = Stage.FINAL  # found once: a member of an enumeration takes long to find

SESSION_STAGES = frozenset({Stage.CONNECT, Stage.TLS, Stage.EHLO, Stage.AUTH})
"""Before MAIL: between the router and its downstream, and not about a message."""


class OutcomeKind(StrEnum):
    """The four words, as the configuration and the log spell them."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What the four have in common.

    Args:
        stage: how far the attempt came.
        reply: the downstream's own reply, if there was one.
        reason: why, when no reply says it; for logs and plugins, never for a client.
    """

    stage: Stage
    reply: Reply | None = None
    reason: str = ""
    kind: ClassVar[OutcomeKind]

    def __str__(self) -> str:
        """`deferred at rcpt: 450 4.2.1 busy`."""
        why = str(self.reply) if self.reply else self.reason
        return f"{self.kind} at {self.stage}" + (f": {why}" if why else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(_Outcome):
    """The downstream has taken the message and answers for it (RFC 5321 6.1)."""

    kind: ClassVar[OutcomeKind] = OutcomeKind.DELIVERED
    stage: Stage = Stage.FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred(_Outcome):
    """Not taken, and nothing says that it never will be: unreachable, 4yz, or a fault of the session.

    Args:
        incapable: the downstream lacks an extension that this message needs; `reply` is then a 5yz of
            our own, and the answer only if the same is true of every downstream.
        rest_s: for how long the downstream is to rest for this user, in seconds, because its reply or a
            rule on it says so; 0: not at all.
        neutral: whether this says nothing of the downstream's health.
    """

    incapable: bool = False
    rest_s: float = 0.0
    neutral: bool = False
    kind: ClassVar[OutcomeKind] = OutcomeKind.DEFERRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Outcome):
    """Refused for good with a 5yz that is about this message."""

    kind: ClassVar[OutcomeKind] = OutcomeKind.REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt(_Outcome):
    """The final dot went out, and its reply never came: taken or not, nobody knows (RFC 1047)."""

    kind: ClassVar[OutcomeKind] = OutcomeKind.IN_DOUBT
    stage: Stage = Stage.FINAL


Outcome = Delivered | Deferred | Rejected | InDoubt


_Draft = draft_of(Delivered)


def delivered(reply: Reply) -> Delivered:
    """A delivery with this reply."""
    draft = _Draft()
    draft.reply = reply
    draft.stage = _FINAL
    draft.reason = ""
    draft.__class__ = Delivered
    outcome: Delivered = draft
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one downstream.

    Args:
        downstream: the downstream that was tried.
        outcome: what became of it.
        seconds: how long it took.
    """

    downstream: Downstream
    outcome: Outcome
    seconds: float


_Tried = draft_of(Attempt)


def attempted(downstream: Downstream, outcome: Outcome, seconds: float) -> Attempt:
    """An attempt at this downstream, with this outcome, after so many seconds."""
    draft = _Tried()
    draft.downstream = downstream
    draft.outcome = outcome
    draft.seconds = seconds
    draft.__class__ = Attempt
    attempt: Attempt = draft
    return attempt
