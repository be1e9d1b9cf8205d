"""What the log says about every attempt and every message: the fields, in their order."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

from smtp_router.core.clock import Clock
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered, InDoubt
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from smtp_router.routing.epoch import Route

Line = Mapping[str, object]


def attempt_line(message: Message, outgoing: Message, attempt: Attempt) -> Line:
    """An attempt.

    Args:
        message: as it was received.
        outgoing: as the plugins left it.
        attempt: what became of it.
    """
    outcome = attempt.outcome
    return {
        "id": message.id,
        "user": message.user,
        "mail_from": outgoing.mail_from,
        "recipients": len(outgoing.rcpt_tos),
        "bytes": outgoing.size,
        "downstream": attempt.downstream.name,
        "stage": outcome.stage,
        "outcome": outcome.kind,
        "code": outcome.reply.code if outcome.reply else None,
        "seconds": round(attempt.seconds, 4),
        "reply": str(outcome.reply) if outcome.reply else None,
        "reason": outcome.reason or None,
    }


def message_line(message: Message, trace: Trace, seconds: float) -> Line:
    """A message that was dealt with, in so many seconds."""
    last = trace.attempts[-1] if trace.attempts else None
    reply = trace.reply
    return {
        "id": message.id,
        "user": message.user,
        "mail_from": message.mail_from,
        "recipients": len(message.rcpt_tos),
        "bytes": message.size,
        "downstream": last.downstream.name if last else None,
        "stage": last.outcome.stage if last else None,
        "outcome": _final_word(reply, last),
        "code": reply.code if reply else None,
        "seconds": round(seconds, 4),
        "attempts": len(trace.attempts),
        "reply": str(reply) if reply else None,
        "canary": trace.canary or None,
    }


def used_up_line(message: Message, route: Route, attempts: Sequence[Attempt], clock: Clock) -> Line:
    """A message for which nobody has room."""
    now = clock.now()
    left = route.left(attempts)
    opens_s = min(target.opens_at(now) for target in left) - now
    opens = None if math.isinf(opens_s) else clock.wall() + timedelta(seconds=opens_s)
    return {
        "id": message.id,
        "user": message.user,
        "downstreams": [target.settings.name for target in left],
        "opens": opens.isoformat(timespec="seconds") if opens else None,
    }


def _final_word(reply: Reply | None, last: Attempt | None) -> str:
    if last and isinstance(last.outcome, Delivered | InDoubt):
        return last.outcome.kind
    if reply is not None and reply.is_positive:
        return "duplicate"  # one of an earlier one, which was delivered
    if reply is None:
        return "abandoned"  # the client went away before any final dot was out
    return "rejected" if reply.is_permanent else "deferred"
