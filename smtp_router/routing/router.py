"""One message's way: ask the table what is next, ask the plugins where, send, tell.

The loop knows no SMTP code: outcomes come from the sender, and what follows from them is in
`core/decision.py`.
"""

import logging
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from smtp_router.core.clock import Clock
from smtp_router.core.decision import (
    OUR_FAULT,
    Finish,
    Limits,
    end_of_attempt,
    give_up,
    next_step,
    without_room,
)
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Delivered, InDoubt
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from smtp_router.routing.again import preferred, seen_before
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.epoch import Epoch, Offer, Route
from smtp_router.routing.journal import Journal, LoggingJournal
from smtp_router.routing.ports import Sender
from smtp_router.routing.reasons import left_out
from smtp_router.routing.shield import to_the_end
from smtp_router.routing.target import Passage
from smtp_router.routing.traces import Traces
from smtp_router.routing.waiting import WaitingLines
from smtp_router.state.doubts import Doubt

log = logging.getLogger(__name__)

UNKNOWN_USER = Reply(code=451, enhanced="4.7.0", text="This login is not known any more")


class Epochs(Protocol):
    """Where the router finds the epoch at work."""

    @property
    def current(self) -> Epoch:
        """The epoch at work."""
        ...

    async def refresh(self) -> Epoch:
        """Look at the plugins' files again, and give the epoch at work after that."""
        ...


class Router:
    """Routes messages, each by the epoch it started with."""

    def __init__(
        self,
        epochs: Epochs,
        sender: Sender,
        clock: Clock,
        *,
        chance: Callable[[], float],
        journal: Journal | None = None,
        doubts: Doubts | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Take what routing needs from outside.

        Args:
            epochs: settings and plugins.
            sender: who delivers.
            clock: time.
            chance: gives a number from 0 to 1, any of them as likely as any other.
            journal: where attempts and messages are written; without one, `logging` is it.
            doubts: which messages may come a second time; without one, those of this router's time.
            traces: where the last messages' traces are kept.
        """
        self._epochs = epochs
        self._sender = sender
        self._clock = clock
        self._chance = chance
        self._journal = journal or LoggingJournal()
        self._doubts = doubts or Doubts(clock)
        self._traces = Traces() if traces is None else traces
        self._lines = WaitingLines(clock)

    async def route(self, message: Message) -> Reply:
        """Deliver a message, and say what the client hears.

        Returns:
            A positive reply only when a downstream has taken the message; otherwise what follows from
            the outcomes, from a plugin's refusal, or `451 4.3.0` for any fault of our own.
        """
        started = self._clock.now()
        trace = Trace(message)
        reply = None
        epoch = self._epochs.current
        try:
            route = epoch.routes.get(message.user)
            if route is not None and route.is_stale():
                epoch = await self._epochs.refresh()
                route = epoch.routes.get(message.user)
            if route is None:
                reply = UNKNOWN_USER
            else:
                reply = await self._deliver(message, epoch, route, started, trace)
        except Refusal as refusal:
            reply = refusal.reply
        except PluginError as error:
            self._log_failure(message, "plugin failed", error, plugin=error.plugin)
            reply = OUR_FAULT
        except Exception as error:  # noqa: BLE001 - never 5yz, never silence, for our own fault
            self._log_failure(message, "routing failed", error)
            reply = OUR_FAULT
        finally:  # also if the client has gone away, and there is no reply
            self._log_message(message, reply, trace.attempts, self._clock.now() - started)
            self._keep(trace, reply)
            self._note_doubt(message, reply, trace.attempts, epoch)
        return reply

    async def _deliver(
        self,
        message: Message,
        epoch: Epoch,
        route: Route,
        started: float,
        trace: Trace,
    ) -> Reply:
        """Deliver it, unless that was done before."""
        limits = Limits(
            deadline=started + epoch.settings.deadline_s,
            downstreams=len(route.targets),
            failover_on=route.user.outcomes_that_fail_over,
            accepts_in_doubt=route.user.in_doubt == "accept",
        )
        doubt = None
        if self._doubts.may_know(message):
            left_s = limits.deadline - self._clock.now()
            found = await seen_before(self._doubts, message, epoch.settings, within_s=left_s)
            if isinstance(found, Reply):
                return found
            doubt = found
        reply = await self._loop(message, epoch, route, limits, trace, doubt=doubt)
        if doubt is not None and not reply.is_transient:
            self._doubts.forget(doubt)
        return reply

    async def _loop(
        self,
        message: Message,
        epoch: Epoch,
        route: Route,
        limits: Limits,
        trace: Trace,
        *,
        doubt: Doubt | None,
    ) -> Reply:
        attempts = trace.attempts
        while True:
            step = next_step(attempts, self._clock.now(), limits)
            if isinstance(step, Finish):
                return _with_id(step.reply, message)
            offer = await self._offer(route, attempts, limits.deadline)
            offered = preferred(offer.downstreams, doubt)
            turn = trace.begin(offered, left_out(route.targets, offered, attempts, self._clock.now()))
            if not offered:
                self._log_used_up(message, route, attempts)
                return without_room(attempts)
            left_s = limits.deadline - self._clock.now()
            chosen = await route.chains.select_downstream(
                message, offered, tuple(attempts), within_s=left_s, trace=trace
            )
            if chosen is None and len(offered) < len(offer.downstreams):
                doubt = None  # whoever was preferred is not wanted now
                continue
            if chosen is None:
                return give_up(attempts, all_tried=False)
            target = route.targets[chosen.name]
            if target.quotas and not await target.is_ready():
                continue
            now = self._clock.now()
            if not target.has_room(now) or (target.is_resting(now) and not offer.all_rest):
                continue  # while the plugins were thinking, others were faster
            with Passage(target, self._clock, self._chance, now) as passage:
                outgoing = message
                if route.chains.before:
                    left_s = limits.deadline - now
                    outgoing = await route.chains.before_send(
                        message, chosen, within_s=left_s, trace=trace
                    )
                began = self._clock.now()
                outcome = await self._sender.send(
                    outgoing,
                    target.settings,
                    epoch.settings,
                    until=end_of_attempt(now, limits.deadline, offer.left),
                    deadline=limits.deadline,
                    on_final=passage.commit,
                )
                now = self._clock.now()
                attempt = Attempt(downstream=chosen, outcome=outcome, seconds=now - began)
                attempts.append(attempt)
                turn.attempt = attempt
                passage.ended(attempt, now)
            self._log_attempt(message, outgoing, attempt)
            if route.chains.after:
                await to_the_end(route.chains.after_send(message, attempt, trace=trace))

    async def _offer(self, route: Route, attempts: list[Attempt], deadline: float) -> Offer:
        """What there is to choose from; waits, if the limits say so, until there is anything."""
        offer = route.offer(attempts, self._clock.now())
        if offer.downstreams and not self._lines.has(route, attempts):
            return offer
        await self._lines.wait(route, attempts, deadline)
        return route.offer(attempts, self._clock.now())

    def _keep(self, trace: Trace, reply: Reply | None) -> None:
        trace.reply = reply
        self._traces.add(trace)
        if self._journal.writes(logging.DEBUG):
            self._journal.write(logging.DEBUG, "trace", trace.told())

    def _note_doubt(
        self, message: Message, reply: Reply | None, attempts: list[Attempt], epoch: Epoch
    ) -> None:
        names = [one.downstream.name for one in attempts if isinstance(one.outcome, InDoubt)]
        if names:
            self._doubts.in_doubt(message, names, reply, for_s=epoch.settings.in_doubt_s)
        self._doubts.ended(message)

    def _log_used_up(self, message: Message, route: Route, attempts: list[Attempt]) -> None:
        now = self._clock.now()
        opens_s = min(target.opens_at(now) for target in route.left(attempts)) - now
        opens = None if math.isinf(opens_s) else self._clock.wall() + timedelta(seconds=opens_s)
        self._journal.write(
            logging.WARNING,
            "limits used up",
            {
                "id": message.id,
                "user": message.user,
                "downstreams": [target.settings.name for target in route.left(attempts)],
                "opens": opens.isoformat(timespec="seconds") if opens else None,
            },
        )

    def _log_attempt(self, message: Message, outgoing: Message, attempt: Attempt) -> None:
        outcome = attempt.outcome
        self._journal.write(
            logging.INFO if isinstance(outcome, Delivered) else logging.WARNING,
            "attempt",
            {
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
            },
        )

    def _log_message(
        self, message: Message, reply: Reply | None, attempts: list[Attempt], seconds: float
    ) -> None:
        last = attempts[-1] if attempts else None
        self._journal.write(
            logging.INFO,
            "message",
            {
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
                "attempts": len(attempts),
                "reply": str(reply) if reply else None,
            },
        )

    def _log_failure(self, message: Message, event: str, error: Exception, **more: object) -> None:
        log.error(event, extra={"fields": {"id": message.id, **more}}, exc_info=error)


def _with_id(reply: Reply, message: Message) -> Reply:
    """A delivery's reply names the router's id, for whoever searches the log later."""
    if not reply.is_positive:
        return reply
    return Reply(code=reply.code, enhanced=reply.enhanced, text=f"{reply.text} as {message.id}")


def _final_word(reply: Reply | None, last: Attempt | None) -> str:
    if last and isinstance(last.outcome, Delivered | InDoubt):
        return last.outcome.kind
    if reply is not None and reply.is_positive:
        return "duplicate"  # one of an earlier one, which was delivered
    if reply is None:
        return "abandoned"  # the client went away before any final dot was out
    return "rejected" if reply.is_permanent else "deferred"
