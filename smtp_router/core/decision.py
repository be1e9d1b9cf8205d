"""What follows from an outcome: one pure function and the tables it reads.

The router's loop asks `next_step` before every attempt and does as it is told. Nothing here knows of
sockets, clocks or plugins; the tables below are the ones printed in `docs/outcomes.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from smtp_router.core.outcome import (
    Attempt,
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    OutcomeKind,
    Rejected,
    Stage,
)
from smtp_router.core.reply import Reply

UNREACHABLE = Reply(code=451, enhanced="4.4.1", text="No downstream took the message")
IN_DOUBT = Reply(code=451, enhanced="4.4.2", text="A downstream did not confirm the message")
DELIVERED = Reply(code=250, enhanced="2.0.0", text="Delivered")
ACCEPTED = Reply(code=250, enhanced="2.0.0", text="Accepted without a confirmation")
TOO_LATE = Reply(code=451, enhanced="4.4.7", text="The message could not be delivered in time")
USED_UP = Reply(code=451, enhanced="4.7.1", text="Sending limits are reached, try again later")
OUR_FAULT = Reply(code=451, enhanced="4.3.0", text="Local error in processing")

SESSION_REPLIES: Mapping[Stage, Reply] = MappingProxyType(
    {
        Stage.CONNECT: UNREACHABLE,
        Stage.TLS: Reply(code=451, enhanced="4.7.5", text="A downstream could not be reached safely"),
        Stage.EHLO: Reply(code=451, enhanced="4.4.1", text="A downstream refused the session"),
        Stage.AUTH: Reply(code=451, enhanced="4.7.0", text="A downstream refused the router's login"),
    }
)
"""What the client hears when an attempt failed before MAIL: that part is between the router and its
downstream, so it is transient, and says nothing of the downstream's own words."""

SERVICE_CLOSING = 421
"""The downstream closes *its* channel (RFC 5321 3.8); passed on, it would claim that we close ours."""


CLOCK_TOLERANCE_S = 0.01
"""An attempt that used up its time may end a timer's tick early; it is late all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far the router goes for one message.

    Args:
        deadline: the instant (seconds, on the clock that `now` is read from) by which the client must
            have an answer. By a clock that begins with the message, it is the same for all messages.
        downstreams: how many there are to try; each is tried at most once.
        failover_on: after which outcomes another downstream is tried.
        accepts_in_doubt: whether a message that is in doubt counts as delivered: somebody has said so.
    """

    deadline: float
    downstreams: int
    failover_on: frozenset[OutcomeKind] = frozenset({OutcomeKind.DEFERRED})
    accepts_in_doubt: bool = False


def next_step(attempts: Sequence[Attempt], now: float, limits: Limits) -> Reply | None:
    """Say what to do after these attempts.

    Args:
        attempts: all attempts for this message so far, oldest first.
        now: the present instant, on the same clock as `limits.deadline`.
        limits: how far to go.

    Returns:
        What the client hears; `None`: ask the plugins for a downstream and try it.
    """
    if attempts:
        last = attempts[-1].outcome
        if isinstance(last, Delivered):
            return DELIVERED
        if isinstance(last, InDoubt) and limits.accepts_in_doubt:
            return ACCEPTED
        if last.kind not in limits.failover_on:
            return _last_word(attempts)
    late = now >= limits.deadline - CLOCK_TOLERANCE_S
    if len(attempts) < limits.downstreams:
        return TOO_LATE if late else None
    reply = give_up(attempts)
    return TOO_LATE if late and reply == UNREACHABLE else reply


def end_of_attempt(now: float, deadline: float, left: int) -> float:
    """The instant by which an attempt that begins now must have the final dot out.

    What is left to the deadline is shared among the downstreams that are left to try, so that one that
    hangs cannot use up the time of those that would answer.
    """
    return now + (deadline - now) / left


def without_room(attempts: Sequence[Attempt]) -> Reply:
    """What a client hears when all downstreams that are left have reached their limits."""
    return give_up(attempts, all_tried=False) if attempts else USED_UP


def _last_word(attempts: Sequence[Attempt]) -> Reply:
    """The answer to the last outcome; but no 5yz while another downstream may have the message."""
    last = attempts[-1].outcome
    if isinstance(last, Rejected) and any(isinstance(one.outcome, InDoubt) for one in attempts):
        return give_up(attempts)
    return answer(last)


def answer(outcome: Outcome) -> Reply:
    """What a client hears if this outcome is the last word.

    A `Delivered` is answered with the downstream's class only; the caller puts the router's id in.
    """
    match outcome:
        case Delivered():
            return DELIVERED
        case InDoubt():
            return IN_DOUBT
        case Rejected(reply=Reply() as reply):
            return _complete(reply)
        case Deferred(stage=stage) if stage in SESSION_REPLIES:
            return SESSION_REPLIES[stage]
        case Deferred(reply=Reply() as reply) if reply.is_transient:
            if reply.code == SERVICE_CLOSING:
                reply = Reply(code=451, enhanced=reply.enhanced, text=reply.text)
            return _complete(reply)
        case Rejected() | Deferred():
            return UNREACHABLE
        case _:
            assert_never(outcome)


def give_up(attempts: Sequence[Attempt], *, all_tried: bool = True) -> Reply:
    """What a client hears when nothing is left to try, or nobody says what: the last transient reply.

    Only if every downstream refused the message for good (so all of them were asked, which
    `failover_on` must allow), or lacks what it needs, is the last of their refusals the answer.

    Args:
        attempts: all attempts for this message.
        all_tried: whether no downstream is left; without it no refusal speaks for all.
    """
    if all_tried and attempts and all(_is_for_good(attempt.outcome) for attempt in attempts):
        last = attempts[-1].outcome.reply
        return _complete(last) if last else UNREACHABLE
    for attempt in reversed(attempts):
        if not _is_for_good(attempt.outcome):
            reply = answer(attempt.outcome)
            if reply.is_transient:
                return reply
    return UNREACHABLE


def _is_for_good(outcome: Outcome) -> bool:
    return isinstance(outcome, Rejected) or (isinstance(outcome, Deferred) and outcome.incapable)


def _complete(reply: Reply) -> Reply:
    """The reply with an enhanced status code, which every reply of ours has (RFC 2034 4)."""
    if reply.enhanced:
        return reply
    return Reply(code=reply.code, enhanced=f"{reply.code // 100}.0.0", text=reply.text)
