"""Whose fault an outcome is: the message's own, or that of the downstream, and of which part of it.

What comes before the login is the same for all who use a server; from the login on it may be about the
account. The table in `docs/health.md` is made by asking `blame`.
"""

from enum import StrEnum
from typing import assert_never

from smtp_router.core.decision import SERVICE_CLOSING
from smtp_router.core.outcome import Deferred, Delivered, InDoubt, Outcome, Rejected, Stage
from smtp_router.core.reply import Reply

SYSTEM_CODES = frozenset({"4.3.0", "4.3.1", "4.3.2", "4.3.5"})
"""The downstream's own system is full, broken or not accepting mail (RFC 3463 3.4). 4.3.3 and 4.3.4 are
about what one message asks for."""


class Blame(StrEnum):
    """Whom an outcome speaks against."""

    NOBODY = "nobody"
    MESSAGE = "message"
    SERVER = "server"
    ACCOUNT = "account"
    USER = "user"
    """Nobody: a reply has asked for a rest, for one user's mail."""


def blame(outcome: Outcome) -> Blame:
    """Whom an outcome speaks against.

    A 4yz about MAIL, RCPT, DATA or the content is the message's own (greylisting, a mailbox that is
    full), unless it says that it is about the downstream: 421 (RFC 5321 3.8), one of `SYSTEM_CODES`, or
    words that ask for a rest.
    """
    match outcome:
        case Delivered():
            return Blame.NOBODY
        case Rejected() | Deferred(incapable=True) | Deferred(neutral=True):
            return Blame.MESSAGE
        case Deferred(stage=Stage.CONNECT | Stage.TLS | Stage.EHLO):
            return Blame.SERVER
        case Deferred(stage=Stage.AUTH):
            return Blame.ACCOUNT
        case Deferred(reply=Reply() as reply, rest_s=0) if _is_about_the_message(reply):
            return Blame.MESSAGE
        case Deferred() | InDoubt():
            return Blame.ACCOUNT
        case _:
            assert_never(outcome)


def _is_about_the_message(reply: Reply) -> bool:
    return reply.is_transient and reply.code != SERVICE_CLOSING and reply.enhanced not in SYSTEM_CODES
