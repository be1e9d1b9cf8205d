"""The edge where a downstream's codes become an `Outcome`. Nothing behind it reads a code.

| stage | 2yz | 4yz | 5yz | anything else |
|---|---|---|---|---|
| connect, tls, ehlo, auth | go on | deferred | deferred | deferred |
| mail, rcpt, data | go on | deferred | rejected | deferred |
| final | delivered | deferred | rejected | in doubt |

A 5yz before MAIL is about the session; so is one of `LOGIN_CODES` behind it. What cannot be understood
after the final dot leaves open whether the message was taken. Deferred and rejected are what the code
alone says: `core/replies.py` has the last word on them, by the downstream's rules.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from smtp_router.core.outcome import (
    SESSION_STAGES,
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    Rejected,
    Stage,
)
from smtp_router.core.replies import Rule, judge
from smtp_router.core.reply import Reply, printable

LOGIN_CODES = frozenset({530, 534, 535, 538})
"""About the router's login or encryption, whenever they come (RFC 4954 6, RFC 3207 4)."""


Judge = Callable[[Stage, int, str], Outcome | None]
"""What a reply of one downstream means: its stage, code and text; see `verdict`."""


class AttemptEnded(Exception):  # noqa: N818 - how an attempt's end travels up inside this room
    """The attempt is over; its outcome is all that counts."""

    def __init__(self, outcome: Outcome) -> None:
        """Carry the outcome."""
        super().__init__(str(outcome))
        self.outcome = outcome


def verdict(
    stage: Stage, code: int, text: str, rules: Iterable[Rule] = (), now: datetime | None = None
) -> Outcome | None:
    """What a downstream's reply means.

    Args:
        stage: what it replied to.
        code: the reply's code; a number that is no SMTP code is garbage.
        text: the reply's text, lines separated by LF.
        rules: what the downstream's refusals mean.
        now: the present instant with its zone, for hints that name one.

    Returns:
        The outcome, or `None` to go on.
    """
    try:
        reply: Reply | None = Reply.parse(code, text)
    except ValueError:
        reply = None
    if reply is None or 300 <= reply.code < 400:  # noqa: PLR2004 - a 3yz nobody asked for
        outcome = unexpected(stage, code, text)
        return InDoubt(reason=outcome.reason) if stage is Stage.FINAL else outcome
    if reply.is_positive:
        return Delivered(reply=reply) if stage is Stage.FINAL else None
    for_good = reply.is_permanent and stage not in SESSION_STAGES and reply.code not in LOGIN_CODES
    refusal: Deferred | Rejected
    refusal = Rejected(stage=stage, reply=reply) if for_good else Deferred(stage=stage, reply=reply)
    return judge(refusal, rules, now)


def judge_by(rules: Iterable[Rule]) -> Judge:
    """The judge of a downstream with these rules."""
    return lambda stage, code, text: verdict(stage, code, text, rules, datetime.now(UTC))


def unexpected(stage: Stage, code: int, text: str) -> Outcome:
    """What a reply means that is none of those that may come at this stage."""
    return Deferred(stage=stage, reason=printable(f"unexpected reply: {code} {text}"))


def name_recipient(outcome: Outcome, recipient: str) -> Outcome:
    """The outcome with its reply's text saying whose RCPT it was: SMTP has one reply for them all."""
    if outcome.reply is None:
        return outcome
    return replace(outcome, reply=replace(outcome.reply, text=f"<{recipient}>: {outcome.reply.text}"))


def together(outcomes: Sequence[Outcome], recipients: Sequence[str]) -> Outcome:
    """What became of a message of which each recipient has a reply (RFC 2033 4.2).

    | the recipients | the message |
    |---|---|
    | all taken | delivered |
    | none taken, one refused for good | rejected, with that recipient named |
    | none taken | deferred, with the first recipient named |
    | some taken, the others refused for good | rejected, with one named: nothing is sent again |
    | some taken, others not now | in doubt: whoever sends it again sends some of them a second copy |
    | some without a reply | in doubt |

    Args:
        outcomes: in the order of the recipients; fewer, if the connection ended.
        recipients: all of them.
    """
    named = [
        name_recipient(outcome, recipient)
        for outcome, recipient in zip(outcomes, recipients, strict=False)
        if not isinstance(outcome, Delivered)
    ]
    if len(outcomes) < len(recipients) or any(isinstance(each, InDoubt) for each in named):
        return InDoubt(reason="not every recipient was answered")
    if not named:
        return outcomes[-1]
    worst = next((each for each in named if isinstance(each, Rejected)), named[0])
    some_taken = len(named) < len(outcomes)
    if some_taken and not all(isinstance(each, Rejected) for each in named):
        return InDoubt(reason=printable(f"taken for some recipients only: {worst.reply}"))
    return worst
