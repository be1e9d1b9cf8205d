"""One message's way: ask the table what is next, ask the plugins where, send, tell.

The loop knows no SMTP code: outcomes come from the sender, and what follows from them is in
`core/decision.py`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
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
from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message
from smtp_router.core.outcome import InDoubt, attempted
from smtp_router.core.reply import Reply, with_words
from smtp_router.core.trace import Trace
from smtp_router.hooks.call import Chains
from smtp_router.routing.again import preferred, seen_before
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.epoch import Epoch, Offer, Route
from smtp_router.routing.journal import Journal, LoggingJournal
from smtp_router.routing.lines import used_up_line
from smtp_router.routing.ports import Sender
from smtp_router.routing.reasons import left_out
from smtp_router.routing.shield import to_the_end
from smtp_router.routing.traces import Traces
from smtp_router.routing.waiting import WaitingLines
from smtp_router.state.doubts import Doubt

log = logging.getLogger(__name__)

UNKNOWN_USER = Reply(code=451, enhanced="4.7.0", text="This login is not known any more")


@dataclass(slots=True)
class _Way:
    """All that goes with a message from here on."""

    message: Message
    epoch: Epoch
    route: Route
    limits: Limits
    trace: Trace
    chains: Chains
    """The route's, or those in which a candidate chooses."""


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
        self._fresh: set[int] = set()

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
            if route is not None and route.files and self._is_stale(route):
                epoch = await self._epochs.refresh()
                route = epoch.routes.get(message.user)
            if route is None:
                reply = UNKNOWN_USER
            else:
                way = self._way(message, epoch, route, started, trace)
                if self._doubts.may_know(message):
                    reply = await self._deliver_again(way)
                else:
                    reply = await self._deliver(way, None)
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
            self._journal.message(message, trace, self._clock.now() - started)
            self._traces.add(trace)
            if self._journal.writes(logging.DEBUG):
                self._journal.write(logging.DEBUG, "trace", trace.told())
            if in_doubt := [one for one in trace.attempts if isinstance(one.outcome, InDoubt)]:
                names = [attempt.downstream.name for attempt in in_doubt]
                self._doubts.in_doubt(message, names, reply, for_s=epoch.settings.in_doubt_s)
            self._doubts.ended(message)
        return reply

    def _is_stale(self, route: Route) -> bool:
        """Whether a plugin's file has changed; looked at once for all messages of a turn of the loop.

        A look takes 5 us. What changed before a message came, did so before the turn that found it.
        """
        if id(route) in self._fresh:
            return False
        if route.is_stale():
            return True
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._fresh.clear)
        self._fresh.add(id(route))
        return False

    def _way(self, message: Message, epoch: Epoch, route: Route, started: float, trace: Trace) -> _Way:
        """How far to go."""
        limits = Limits(
            deadline=started + epoch.settings.deadline_s,
            downstreams=len(route.targets),
            failover_on=route.failover_on,
            accepts_in_doubt=route.user.in_doubt == "accept",
        )
        return _Way(message, epoch, route, limits, trace, route.chains)

    async def _deliver_again(self, way: _Way) -> Reply:
        """Deliver a message that may have come before, unless it was delivered then."""
        left_s = way.limits.deadline - self._clock.now()
        found = await seen_before(self._doubts, way.message, way.epoch.settings, within_s=left_s)
        if isinstance(found, Reply):
            return found
        reply = await self._deliver(way, found)
        if found is not None and not reply.is_transient:
            self._doubts.forget(found)
        return reply

    async def _deliver(self, way: _Way, doubt: Doubt | None) -> Reply:
        message, route, limits, trace = way.message, way.route, way.limits, way.trace
        attempts, clock = trace.attempts, self._clock
        if route.canary and self._chance() < route.canary.share:
            way.chains = route.canary.chains
            trace.canary = route.canary.plugin.name
        while True:
            now = clock.now()
            step = next_step(attempts, now, limits)
            if isinstance(step, Finish):
                return _with_id(step.reply, message)
            offer = route.offer(attempts, now)
            if not offer.downstreams or self._lines.has(route, attempts):
                await self._lines.wait(route, attempts, limits.deadline)
                now = clock.now()
                offer = route.offer(attempts, now)
            offered = offer.downstreams if doubt is None else preferred(offer.downstreams, doubt)
            trace.begin(offered, left_out(route.targets, offered, attempts, now))
            if not offered:
                line = used_up_line(message, route, attempts, clock)
                self._journal.write(logging.WARNING, "limits used up", line)
                return without_room(attempts)
            tried = tuple(attempts)
            found = way.chains.begin_select(message, offered, tried, limits.deadline - now, trace)
            at_once = found is None or isinstance(found, Downstream)
            chosen = found if found is None or isinstance(found, Downstream) else await found
            if route.shadow:
                route.shadow.compare(message, offered, tried, chosen, trace)
            if chosen:
                await self._attempt(way, offer, chosen, at_once=at_once)
            elif len(offered) < len(offer.downstreams):
                doubt = None  # whoever was preferred is not wanted now
            else:
                return give_up(attempts, all_tried=False)

    async def _attempt(self, way: _Way, offer: Offer, chosen: Downstream, *, at_once: bool) -> None:
        """Try one downstream, unless others have been faster while the plugins were thinking.

        If that was done `at_once`, there was no time for it.
        """
        message, route, limits, trace = way.message, way.route, way.limits, way.trace
        target = route.targets[chosen.name]
        if target.quotas:
            at_once = False
            if not await target.is_ready():
                return
        now = self._clock.now()
        if not at_once and not target.has_room(now):
            return
        if not at_once and target.is_resting(now) and not offer.all_rest:
            return
        passage = target.begin(now)
        if passage is None:
            return
        try:
            outgoing = message
            if way.chains.before:
                changed = way.chains.begin_before_send(message, chosen, limits.deadline - now, trace)
                outgoing = changed if isinstance(changed, Message) else await changed
            began = self._clock.now()
            outcome = await self._sender.send(
                outgoing,
                target.settings,
                way.epoch.settings,
                until=end_of_attempt(now, limits.deadline, offer.left),
                deadline=limits.deadline,
                on_final=passage.commit,
            )
            now = self._clock.now()
            attempt = attempted(chosen, outcome, now - began)
            trace.tried(attempt)
            passage.ended(attempt, now, self._clock, self._chance)
        finally:
            passage.leave()
        self._journal.attempt(message, outgoing, attempt)
        if route.shadow:
            route.shadow.tell(message, attempt)
        if way.chains.after:
            rest = way.chains.begin_after_send(message, attempt, trace)
            if rest is not None:
                await to_the_end(rest)

    def _log_failure(self, message: Message, event: str, error: Exception, **more: object) -> None:
        log.error(event, extra={"fields": {"id": message.id, **more}}, exc_info=error)


def _with_id(reply: Reply, message: Message) -> Reply:
    """A delivery's reply names the router's id, for whoever searches the log later."""
    if not reply.is_positive:
        return reply
    return with_words(reply, f"as {message.id}")
