"""What is told of an attempt: the envelope and what became of it, and nothing of the content."""

import json
from collections.abc import Sequence
from datetime import datetime

from smtp_router import Attempt, Message

_compact = json.JSONEncoder(separators=(",", ":")).encode


def event(message: Message, attempt: Attempt, at: datetime) -> bytes:
    """One attempt, as JSON."""
    outcome, reply = attempt.outcome, attempt.outcome.reply
    return _compact(
        {
            "type": f"attempt.{outcome.kind}",
            "time": at.isoformat(timespec="milliseconds"),
            "id": message.id,
            "user": message.user,
            "mail_from": message.mail_from,
            "rcpt_tos": message.rcpt_tos,
            "size": message.size,
            "downstream": attempt.downstream.name,
            "outcome": outcome.kind,
            "stage": outcome.stage,
            "code": reply.code if reply else None,
            "enhanced": reply.enhanced if reply else "",
            "text": reply.text if reply else outcome.reason,
            "seconds": round(attempt.seconds, 3),
        }
    ).encode()


def payload(events: Sequence[bytes], at: datetime) -> bytes:
    """A request's body: type, time and data, as Standard Webhooks recommends."""
    head = _compact({"type": "attempts", "timestamp": at.isoformat(timespec="milliseconds")})
    return b'%s,"data":[%s]}' % (head[:-1].encode(), b",".join(events))
