"""One message's way: ask the table what is next, ask the plugins where, send, tell.

The loop knows no SMTP code: outcomes come from the sender, and what follows from them is in
`core/decision.py`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from smtp_router.core.clock import Clock
from smtp_router.core.decision import (
    OUR_FAULT,
    end_of_attempt,
    give_up,
    next_step,
    without_room,
)
from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message
from smtp_router.core.outcome import Delivered, InDoubt, attempted
from smtp_router.core.reply import Reply, with_id
from smtp_router.core.trace import Trace
from smtp_router.hooks.call import Chains
from smtp_router.routing.again import preferred, seen_before
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.epoch import Epoch, Route
from smtp_router.routing.journal import Journal, LoggingJournal
from smtp_router.routing.lines import used_up_line
from smtp_router.routing.ports import Sender
from smtp_router.routing.reasons import left_out
from smtp_router.routing.shield import to_the_end
from smtp_router.routing.target import Passage, Target
from smtp_router.routing.traces import Traces
from smtp_router.routing.trial import Canary
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
        self._instant = clock.now  # as a method of a clock, it would be looked up slowly each time
        self._chance = chance
        self._journal = journal or LoggingJournal()
        self._doubts = doubts or Doubts(clock)
        self._traces = Traces() if traces is None else traces
        self._lines = WaitingLines(clock)
        self._fresh: set[int] = set()

    async def route(self, message: Message) -> Reply:
        """Deliver a message, and say what the client hears.

        Returns:
            A positive reply only when a downstream has taken the message; otherwise what follows from
            the outcomes, from a plugin's refusal, or `451 4.3.0` for any fault of our own.
        """
        instant = self._instant
        started = instant()
        trace = Trace(message)
        reply = None
        epoch = self._epochs.current
        try:
            route = epoch.routes.get(message.user)
            if route and route.files and id(route) not in self._fresh and self._is_stale(route):
                epoch = await self._epochs.refresh()
                route = epoch.routes.get(message.user)
            if route is None:
                reply = UNKNOWN_USER
            elif self._doubts.known and self._doubts.may_know(message):
                reply = await self._deliver_again(message, epoch, route, trace, started)
            else:
                reply = await self._deliver(message, epoch, route, trace, started)
        except Refusal as refusal:
            reply = refusal.reply
        except PluginError as error:
            self._log_failure(message, "plugin failed", error, plugin=error.plugin)
            reply = OUR_FAULT
        except Exception as error:  # noqa: BLE001 - never 5yz, never silence, for our own fault
            self._log_failure(message, "routing failed", error)
            reply = OUR_FAULT
        finally:  # also if the client has gone away, and there is no reply
            trace.reply = reply
            self._traces.add(trace)
            now = instant()
            self._journal.message(message, trace, now - started, now)
            if trace.attempts and not isinstance(trace.attempts[0].outcome, Delivered):
                self._look_for_doubt(message, trace, epoch)
            if self._doubts.orphans:
                self._doubts.ended(message)
        return reply

    def _is_stale(self, route: Route) -> bool:
        """Whether a plugin's file has changed; looked at once for all messages of a turn of the loop.

        A look takes 3 us. What changed before a message came, did so before the turn that found it.
        """
        if route.is_stale():
            return True
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._fresh.clear)
        self._fresh.add(id(route))
        return False

    async def _deliver_again(
        self, message: Message, epoch: Epoch, route: Route, trace: Trace, started: float
    ) -> Reply:
        """Deliver a message that may have come before, unless it was delivered then."""
        left_s = started + route.limits.deadline - self._instant()
        found = await seen_before(self._doubts, message, epoch.settings, within_s=left_s)
        if isinstance(found, Reply):
            return found
        reply = await self._deliver(message, epoch, route, trace, started, doubt=found)
        if found is not None and not reply.is_transient:
            self._doubts.forget(found)
        return reply

    async def _deliver(
        self,
        message: Message,
        epoch: Epoch,
        route: Route,
        trace: Trace,
        started: float,
        *,
        doubt: Doubt | None = None,
    ) -> Reply:
        """Try one downstream after the other, for as long as the table says."""
        instant, attempts, limits = self._instant, trace.attempts, route.limits
        chains = route.chains if route.canary is None else self._drawn(route, route.canary, trace)
        deadline = started + limits.deadline
        while (reply := next_step(attempts, (now := instant()) - started, limits)) is None:
            fit, all_rest, left = route.offer(attempts, now)
            if not fit or (self._lines.lines and self._lines.has(route, attempts)):
                await self._lines.wait(route, attempts, deadline)
                now = instant()
                fit, all_rest, left = route.offer(attempts, now)
            offered = fit if doubt is None else preferred(fit, doubt)
            are_all = len(offered) == limits.downstreams  # as for almost every message
            others = () if are_all else left_out(route.targets, offered, attempts, now)
            trace.begin(offered, others)
            if not offered:
                line = used_up_line(message, route, attempts, self._clock)
                self._journal.write(logging.WARNING, "limits used up", line)
                return without_room(attempts)
            tried = tuple(attempts) if attempts else ()
            chosen = chains.begin_select(message, offered, tried, deadline - now, trace)
            at_once = True
            if chosen is not None and not isinstance(chosen, Downstream):
                chosen, at_once = await chosen, False
            if route.shadow:
                route.shadow.compare(message, offered, tried, chosen, trace)
            if chosen is None:
                if len(offered) == len(fit):
                    return give_up(attempts, all_tried=False)
                doubt = None  # whoever was preferred is not wanted now
                continue
            target = route.targets[chosen.name]
            passage = (
                target.begin(now)
                if at_once and not target.quotas
                else await self._begin_late(target, all_rest=all_rest)
            )
            if passage is None:
                continue
            try:
                now = instant()
                changed = chains.begin_before_send(message, chosen, deadline - now, trace)
                outgoing = changed if isinstance(changed, Message) else await changed
                began = instant()
                outcome = await self._sender.send(
                    outgoing,
                    target.settings,
                    epoch.settings,
                    until=end_of_attempt(now, deadline, left),
                    deadline=deadline,
                    on_final=passage.commit,
                )
                now = instant()
                attempt = attempted(chosen, outcome, now - began)
                attempts.append(attempt)
                passage.ended(attempt, now, self._clock, self._chance)
            finally:
                passage.leave()
            self._journal.attempt(message, outgoing, attempt, now)
            rest = chains.begin_after_send(message, attempt, trace)
            if rest is not None:
                await to_the_end(rest)
        # A delivery's names the router's id, for whoever searches the log later.
        return with_id(reply, message.id) if reply.is_positive else reply

    def _drawn(self, route: Route, canary: Canary, trace: Trace) -> Chains:
        """Whose hooks this message goes through: the user's, or those in which a candidate chooses."""
        if self._chance() >= canary.share:
            return route.chains
        trace.canary = canary.plugin.name
        return canary.chains

    async def _begin_late(self, target: Target, *, all_rest: bool) -> Passage | None:
        """Begin an attempt at a downstream some time after it was offered.

        Not if others have been faster: while the plugins were thinking, or its quotas got ready.
        """
        if target.quotas and not await target.is_ready():
            return None
        now = self._instant()
        is_fit = target.has_room(now) and (all_rest or not target.is_resting(now))
        return target.begin(now) if is_fit else None

    def _look_for_doubt(self, message: Message, trace: Trace, epoch: Epoch) -> None:
        """Remember who may have a message, if somebody may."""
        names = [one.downstream.name for one in trace.attempts if isinstance(one.outcome, InDoubt)]
        if names:
            self._doubts.in_doubt(message, names, trace.reply, for_s=epoch.settings.in_doubt_s)

    def _log_failure(self, message: Message, event: str, error: Exception, **more: object) -> None:
        log.error(event, extra={"fields": {"id": message.id, **more}}, exc_info=error)
