"""What a refusal means beyond its code: rules on its words, and hints in them.

A rule is an order to see a downstream's refusal differently. It is shown refusals only, so it can
neither make a delivery of one nor undo a delivery: what was taken, what is in doubt and what is not
understood never gets here.

| class | at connect, tls, ehlo, auth | at mail, rcpt, data, final | rests | counts against health |
|---|---|---|---|---|
| `deferred` | deferred | deferred | if the rule or the reply says so | if it rests, or by the code |
| `rejected` | deferred | rejected | no | no |
| `quota` | deferred | deferred | yes | no |
| `auth` | deferred | deferred | yes | yes |
| `ignore` | as by the code | as by the code | no | no |

*Rests* means: this downstream is not preferred for this user for so long.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from smtp_router.core.hints import rest_hint_s
from smtp_router.core.outcome import SESSION_STAGES, Deferred, Rejected, Stage
from smtp_router.core.reply import Reply

FOR_GOOD = 554
"""What a 4yz becomes if a rule says that it is for good (RFC 5321 4.2.3: transaction failed)."""

_BEFORE_RCPT = SESSION_STAGES | {Stage.MAIL}
_QUOTED_LOCAL_PART = re.compile(r'"[^"]*"(?=@)')


class ReplyClass(StrEnum):
    """What a rule can take a refusal for, as the configuration spells it."""

    DEFERRED = "deferred"
    """Not now, whatever the code says."""
    REJECTED = "rejected"
    """Never: about this message, whatever the code says."""
    QUOTA = "quota"
    """The account has used up what it may send; the downstream itself is well."""
    AUTH = "auth"
    """The account is refused: login wrong, disabled or suspended."""
    IGNORE = "ignore"
    """As the code says, but no sign of ill health."""


QUOTA_REST_S = 3600.0
"""If nobody says: quotas are per hour, per day or rolling, and a try every hour costs little."""

AUTH_REST_S = 900.0
"""If nobody says: somebody has to repair the login, and tries meanwhile may lock the account."""

_REST_S = MappingProxyType({ReplyClass.QUOTA: QUOTA_REST_S, ReplyClass.AUTH: AUTH_REST_S})


class Pattern(Protocol):
    """Something that a reply's line can fit."""

    def matches(self, text: str) -> bool:
        """Whether it does; in a time that is linear in the text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One order: a refusal that fits is of this class.

    Args:
        name: for the log.
        pattern: what `line_of` makes of the reply has to fit it.
        reply_class: what such a refusal is taken for.
        stages: where it has to come.
        rest_s: for how long the downstream rests for this user, in seconds, if the reply does not say.
    """

    name: str
    pattern: Pattern
    reply_class: ReplyClass
    stages: frozenset[Stage] = frozenset(Stage)
    rest_s: float | None = None


def line_of(reply: Reply) -> str:
    """The reply as patterns see it: `452 4.2.2 <@> is over quota`.

    A word with an address in it becomes `@`: whoever chooses a recipient could write there whatever a
    rule looks for, and have a downstream rested.
    """
    line = str(reply)
    if "@" not in line:
        return line
    line = _QUOTED_LOCAL_PART.sub("", line)
    return " ".join("@" if "@" in word else word for word in line.split(" "))


def judge(
    refusal: Deferred | Rejected, rules: Iterable[Rule] = (), now: datetime | None = None
) -> Deferred | Rejected:
    """See a refusal by the first rule that it fits; without one, by its code.

    A hint (`try again in 300 seconds`) is honoured wherever a rule lets the downstream rest, and without
    a rule only before RCPT: later, a transient refusal may be about one recipient, as in greylisting.

    Args:
        refusal: what the code alone says, with the downstream's reply.
        rules: in order.
        now: the present instant with its zone, for hints that name one.
    """
    if refusal.reply is None:
        return refusal
    line = line_of(refusal.reply)
    hint_s = rest_hint_s(line, now) or 0.0
    for rule in rules:
        if refusal.stage in rule.stages and rule.pattern.matches(line):
            return _by_rule(refusal, refusal.reply, rule, hint_s)
    if isinstance(refusal, Deferred) and refusal.stage in _BEFORE_RCPT and hint_s:
        return replace(refusal, rest_s=hint_s)
    return refusal


def _by_rule(
    refusal: Deferred | Rejected, reply: Reply, rule: Rule, hint_s: float
) -> Deferred | Rejected:
    stage = refusal.stage
    reason = f"{rule.reply_class} by {rule.name}"
    if rule.reply_class is ReplyClass.IGNORE and isinstance(refusal, Deferred):
        return replace(refusal, reason=reason, neutral=True)
    if rule.reply_class is ReplyClass.IGNORE:
        return replace(refusal, reason=reason)
    if rule.reply_class is ReplyClass.REJECTED and stage not in SESSION_STAGES:
        return Rejected(stage=stage, reply=_for_good(reply), reason=reason)
    rest_s = rule.rest_s or _REST_S.get(rule.reply_class, 0.0)
    if rest_s or stage in _BEFORE_RCPT:
        rest_s = hint_s or rest_s
    neutral = rule.reply_class is ReplyClass.QUOTA
    return Deferred(stage=stage, reply=reply, reason=reason, rest_s=rest_s, neutral=neutral)


def _for_good(reply: Reply) -> Reply:
    """A 5yz with the same words, since a client must not try again."""
    if reply.is_permanent:
        return reply
    return Reply(code=FOR_GOOD, enhanced=reply.enhanced and f"5{reply.enhanced[1:]}", text=reply.text)
