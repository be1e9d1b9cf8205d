"""The tables of docs/health.md, made by asking the code itself.

A test compares them with the page; `python -m tests.docs.tables` writes them into it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from smtp_router import Deferred, HealthState, Outcome, Stage
from smtp_router.core.blame import SYSTEM_CODES, Blame, blame
from smtp_router.core.breaker import FULL, Breaker, Rules
from smtp_router.smtp.verdict import LOGIN_CODES, verdict
from tests.docs.markdown import table
from tests.docs.pages import DOCS
from tests.support import deferred, delivered, in_doubt, make_reply

PAGE = DOCS / "health.md"

RULES = Rules()
TRANSACTION = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL)
AGAINST = {
    Blame.NOBODY: "nobody",
    Blame.MESSAGE: "the message",
    Blame.SERVER: "the server",
    Blame.ACCOUNT: "the account",
    Blame.USER: "nobody",
}
SAID = {HealthState.CLOSED: "closed", HealthState.HALF_OPEN: "half-open", HealthState.OPEN: "open"}


def blames() -> str:
    """Whom every outcome speaks against."""
    system = " ".join(sorted(SYSTEM_CODES))
    others = {f"4.{subject}.{detail}" for subject in range(10) for detail in range(10)} - SYSTEM_CODES
    cases: Mapping[str, Iterable[Outcome]] = {
        "`delivered`": [delivered()],
        "`rejected`": _said(TRANSACTION, ["550 5.1.1 x", "554 5.3.0 x", "552 x"]),
        "`deferred`, because it lacks [what the message needs](outcomes.md#what-a-downstream-lacks)": [
            Deferred(stage=Stage.MAIL, reply=make_reply("550 5.6.3 x"), incapable=True)
        ],
        "`deferred` at `connect`, `tls`, `ehlo`": [
            *_said((Stage.CONNECT, Stage.TLS, Stage.EHLO), ["421 x", "450 x", "554 x"]),
            *(deferred(None, stage) for stage in (Stage.CONNECT, Stage.TLS, Stage.EHLO)),
        ],
        "`deferred` at `auth`": [*_said([Stage.AUTH], ["454 x", "535 x"]), deferred(None, Stage.AUTH)],
        "`deferred` later, with a 4yz": _said(
            TRANSACTION, ["450 x", "451 x", "452 x", *(f"451 {code} x" for code in others)]
        ),
        f"... with 421, or an enhanced code {system}": _said(
            TRANSACTION, ["421 x", "421 4.2.1 x", *(f"451 {code} x" for code in SYSTEM_CODES)]
        ),
        f"... with {' '.join(map(str, sorted(LOGIN_CODES)))}": _said(
            TRANSACTION, [f"{code} 5.7.0 x" for code in LOGIN_CODES]
        ),
        "... without a reply: lost, or too slow": [deferred(None, stage) for stage in TRANSACTION],
        "... with words that [ask for a rest](outcomes.md#rules-and-hints)": [
            Deferred(stage=stage, reply=make_reply("450 4.2.1 x"), rest_s=9) for stage in TRANSACTION
        ],
        "... that a [rule](outcomes.md#rules-and-hints) takes for `quota` or `ignore`": [
            Deferred(stage=stage, reply=make_reply("550 5.7.1 x"), rest_s=rest_s, neutral=True)
            for stage in Stage
            for rest_s in (0, 9)
        ],
        "`in_doubt`": [in_doubt()],
    }
    rows = []
    for what, outcomes in cases.items():
        (against,) = {blame(outcome) for outcome in outcomes}
        rows.append((what, AGAINST[against]))
    return table(("outcome", "speaks against"), rows)


def states() -> str:
    """What follows from what happens in each state."""
    closed, half_open = Breaker(), Breaker(state=HealthState.HALF_OPEN, slots=4, rests=1)
    opened = Breaker(state=HealthState.OPEN, until=100.0, rests=1)
    almost = Breaker(row=RULES.failures - 1)
    rows = [
        (closed, "a success", closed.succeeded()),
        (closed, "a failure", _failed(closed)),
        (closed, "one failure too many, in a row or of those in the window", _failed(almost)),
        (opened, "it has rested", opened.looked_at(100.0)),
        (opened, "a failure, since all others rest, too", _failed(opened)),
        (opened, "a success, for the same reason", opened.succeeded()),
        (half_open, "a success", half_open.succeeded()),
        (half_open, "the fifth success", Breaker(state=half_open.state, slots=FULL // 2).succeeded()),
        (half_open, "a failure", _failed(half_open)),
    ]
    head = ("state", "what happens", "then")
    return table(
        head, [(SAID[before.state], what, _then(before, after)) for before, what, after in rows]
    )


def _then(before: Breaker, after: Breaker) -> str:
    said = SAID[after.state]
    if after.state is HealthState.OPEN and before.state is not HealthState.OPEN:
        return f"{said}, for {after.until:g} s at most"
    if after.state is HealthState.HALF_OPEN:
        if before.slots:
            return f"{said}, {after.slots // before.slots} times as many at the same time"
        return f"{said}, {after.slots} at the same time"
    return said


def _failed(breaker: Breaker) -> Breaker:
    return breaker.failed(0.0, RULES, bad=1, total=1, chance=0.0)


def _said(stages: Sequence[Stage], lines: Iterable[str]) -> Iterable[Outcome]:
    """What these replies mean at these stages, as the wire reads them."""
    for stage in stages:
        for line in lines:
            reply = make_reply(line)
            outcome = verdict(stage, reply.code, f"{reply.enhanced} {reply.text}")
            assert outcome is not None
            yield outcome


MAKERS: Mapping[str, Callable[[], str]] = {"blame": blames, "states": states}
