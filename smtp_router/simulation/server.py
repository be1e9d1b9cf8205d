"""A downstream's part in an attempt: what would happen, and how long it would take. No I/O, no waiting.

| outage | a new connection | one that was kept |
|---|---|---|
| `refused` | refused | lost as it begins; what is under way, too |
| `timeout` at a stage before MAIL | waits for nothing there | the same at MAIL |
| `timeout` from MAIL on | | waits for nothing there |
| a reply before MAIL | hears it there | goes on; with 421, it is closed, and a new one is opened |
| a reply from MAIL on | hears it there | the same; with 421 at MAIL, as above |
| `slow` | all takes longer | the same |

Half of a delivery's time goes by until the final dot is out, the other half until it is answered.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from smtp_router.config.behaviour import SERVICE_CLOSING, Behaviour, Outage
from smtp_router.config.settings import Timeouts
from smtp_router.core.message import Message
from smtp_router.core.outcome import SESSION_STAGES, Deferred, Delivered, InDoubt, Outcome, Stage
from smtp_router.core.reply import Reply
from smtp_router.core.window import Window
from smtp_router.simulation.luck import Luck
from smtp_router.smtp.verdict import name_recipient

TAKEN = Delivered(reply=Reply(code=250, enhanced="2.0.0", text="Taken"))
TRY_LATER = Reply(code=451, enhanced="4.7.1", text="Try again later")
NO_MAILBOX = Reply(code=550, enhanced="5.1.1", text="No such mailbox")
TOO_MANY_CONNECTIONS = Reply(code=421, enhanced="4.7.0", text="Too many connections")

TIMED_OUT, LOST = "timed out", "connection lost"

Verdict = Callable[[Stage, Reply], Outcome]
"""What a reply of this downstream means, by the router's own rules."""


class Course(NamedTuple):
    """What an attempt, or its part, comes to."""

    seconds: float
    outcome: Outcome | None
    """`None`: of an opening, that it is open; of a transaction, that the kept connection was dead."""
    stays: bool
    """Whether the connection can be used again."""


class Limit(NamedTuple):
    """How long an attempt may take."""

    timeouts: Timeouts
    shortest_s: float
    """Of them all."""
    until: float
    """The instant by which the final dot must be out."""
    deadline: float
    """The instant by which the outcome must be known."""

    def ends(self, stage: Stage, now: float) -> float:
        """Until which instant a stage that begins now may last."""
        seconds: float = getattr(self.timeouts, f"{stage}_s")
        return min(now + seconds, self.deadline if stage is Stage.FINAL else self.until)


class Server:
    """One downstream as a scenario has it."""

    def __init__(self, behaviour: Behaviour, verdict: Verdict) -> None:
        """Nobody has connected yet."""
        self._latency, self._connect = behaviour.latency, behaviour.connect
        self._verdict = verdict
        self._outages = deque(sorted(behaviour.outages, key=lambda outage: outage.begin))
        self._limits = behaviour.limits
        self._windows = [(Window(span), count) for span, count in behaviour.limits.windows]
        failure = behaviour.failure
        self._rejected_up_to = failure.rejected.share
        self._deferred_up_to = self._rejected_up_to + failure.deferred.share
        self._in_doubt_up_to = self._deferred_up_to + failure.in_doubt
        self._refusals = (
            (failure.rejected.reply or NO_MAILBOX, Stage(failure.rejected.stage)),
            (failure.deferred.reply or TRY_LATER, Stage(failure.deferred.stage)),
        )
        self.lost_at = -1.0
        """Who has connected before this instant is not connected any more."""

    def look(self, now: float) -> Outage | None:
        """The outage there is now; instants only ever come later."""
        outages = self._outages
        while outages and now >= outages[0].begin:
            outage = outages[0]
            if outage.how == "refused":
                self.lost_at = outage.begin
            if now < outage.end:
                return outage
            outages.popleft()
        return None

    def open(self, now: float, luck: Luck, limit: Limit, connections: int) -> Course:
        """Somebody connects.

        Args:
            now: the present instant.
            luck: of the message that it is for.
            limit: how long it may take.
            connections: how many there are already.
        """
        outage = self.look(now)
        seconds = self._connect.at(luck.opening)
        if outage is not None and outage.how == "slow":
            seconds *= outage.slower
        elif outage is not None and outage.at in SESSION_STAGES:
            return self._turned_away(outage, now, seconds, limit)
        most = self._limits.connections
        if most is not None and connections >= most:
            return Course(seconds, self._verdict(Stage.CONNECT, TOO_MANY_CONNECTIONS), stays=False)
        end = limit.ends(Stage.CONNECT, now)
        if now + seconds > end:
            return Course(end - now, Deferred(stage=Stage.CONNECT, reason=TIMED_OUT), stays=False)
        cut = self._cut(now, now + seconds)
        if cut is not None:
            course = self._turned_away(cut, cut.begin, 0.0, limit)
            return course._replace(seconds=cut.begin - now + course.seconds)
        return Course(seconds, None, stays=True)

    def transact(self, now: float, luck: Luck, limit: Limit, message: Message, *, kept: bool) -> Course:
        """Somebody says MAIL over an open connection, and goes on from there.

        Args:
            now: the present instant.
            luck: of the message.
            limit: how long it may take.
            message: which.
            kept: whether the connection was used before; then it may turn out to be dead.
        """
        seconds = self._latency.at(luck.transaction)
        outage = self.look(now)
        if outage is not None:
            if outage.how == "slow":
                seconds *= outage.slower
            elif (
                course := self._disturbed(outage, now, seconds, limit, message, kept=kept)
            ) is not None:
                return course
        if self._windows and not self._has_room(now):
            return self._refused(Stage.MAIL, self._limits.reply, seconds, message)
        if luck.chance < self._deferred_up_to:
            reply, stage = self._refusals[luck.chance >= self._rejected_up_to]
            return self._refused(stage, reply, seconds, message)
        return self._delivery(now, seconds, luck, limit, kept=kept)

    def _delivery(self, now: float, seconds: float, luck: Luck, limit: Limit, *, kept: bool) -> Course:
        """A transaction that nobody refuses."""
        if (
            seconds < limit.shortest_s
            and now + seconds < limit.until
            and luck.chance >= self._in_doubt_up_to
            and not self._outages
        ):
            return Course(seconds, TAKEN, stays=True)  # as nearly always
        dot = now + seconds / 2
        end = limit.ends(Stage.MAIL, now)
        if dot > end:
            return Course(end - now, Deferred(stage=Stage.MAIL, reason=TIMED_OUT), stays=False)
        cut = self._cut(now, now + seconds)
        if cut is not None:
            return self._cut_off(cut, now, dot, limit, kept=kept)
        end = limit.ends(Stage.FINAL, dot)
        if now + seconds > end:
            return Course(end - now, InDoubt(reason=TIMED_OUT), stays=False)
        if luck.chance < self._in_doubt_up_to:
            return Course(seconds, InDoubt(reason=LOST), stays=False)
        return Course(seconds, TAKEN, stays=True)

    def _turned_away(self, outage: Outage, now: float, seconds: float, limit: Limit) -> Course:
        """A connection is not opened."""
        if isinstance(outage.how, Reply):
            return Course(seconds, self._verdict(outage.at, outage.how), stays=False)
        if outage.how == "timeout":
            end = limit.ends(outage.at, now)
            return Course(end - now, Deferred(stage=outage.at, reason=TIMED_OUT), stays=False)
        return Course(seconds, Deferred(stage=Stage.CONNECT, reason="connection refused"), stays=False)

    def _disturbed(
        self, outage: Outage, now: float, seconds: float, limit: Limit, message: Message, *, kept: bool
    ) -> Course | None:
        """A transaction begins during an outage; `None`: nothing of that is noticed."""
        how, stage = outage.how, outage.at
        if isinstance(how, Reply):
            closes = how.code == SERVICE_CLOSING
            if closes and kept and (stage is Stage.MAIL or stage in SESSION_STAGES):
                return Course(seconds / 2, None, stays=False)
            if stage in SESSION_STAGES:
                return None
            return self._refused(stage, how, seconds, message)
        return self._cut_off(outage, now, now + seconds / 2, limit, kept=kept)

    def _cut_off(self, outage: Outage, now: float, dot: float, limit: Limit, *, kept: bool) -> Course:
        """A transaction ends, or answers stay out, because of an outage; the dot goes out at `dot`."""
        begins = max(outage.begin, now)
        if outage.how == "refused":
            if begins >= dot:
                return Course(begins - now, InDoubt(reason=LOST), stays=False)
            lost = None if kept else Deferred(stage=Stage.MAIL, reason=LOST)
            return Course(begins - now, lost, stays=False)
        stage = Stage.MAIL if outage.at in SESSION_STAGES else outage.at
        if stage is Stage.FINAL or begins >= dot:
            end = limit.ends(Stage.FINAL, dot)
            return Course(end - now, InDoubt(reason=TIMED_OUT), stays=False)
        end = limit.ends(stage, now)
        return Course(end - now, Deferred(stage=stage, reason=TIMED_OUT), stays=False)

    def _refused(self, stage: Stage, reply: Reply, seconds: float, message: Message) -> Course:
        """A transaction is refused."""
        outcome = self._verdict(stage, reply)
        if stage is Stage.RCPT:
            outcome = name_recipient(outcome, message.rcpt_tos[0])
        took = seconds if stage is Stage.FINAL else seconds / 2
        return Course(took, outcome, stays=reply.code != SERVICE_CLOSING)

    def _cut(self, now: float, end: float) -> Outage | None:
        """The outage that begins in between and breaks off what is under way."""
        for outage in self._outages:
            if outage.begin >= end:
                return None
            if outage.begin > now and outage.how in ("refused", "timeout"):
                return outage
        return None

    def _has_room(self, now: float) -> bool:
        """Whether the server's own limits leave room for one more, which is counted then."""
        if any(window.total(now) >= count for window, count in self._windows):
            return False
        for window, _ in self._windows:
            window.add(now)
        return True
