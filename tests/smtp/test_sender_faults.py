"""Every fault at every stage of a downstream: what the attempt comes to, on every kind of connection."""

import itertools
import ssl
from dataclasses import replace

import pytest

from smtp_router import Reply, Stage
from smtp_router.core.outcome import OutcomeKind
from tests.faults import CASES, Case
from tests.script import DROP, HANG, NORMAL, RESET, Plan, Step, Then
from tests.smtp.sending import BIG, LOGIN, Sending, until
from tests.witness import OFFER, Witness

MODES = ("clear", "starttls", "implicit")
SESSION = ("banner", "ehlo", "starttls", "auth")
LOCKSTEP_OFFER = tuple(extension for extension in OFFER if extension != "PIPELINING")

KIND_OF = {
    "+": OutcomeKind.DELIVERED,
    "-": OutcomeKind.DEFERRED,
    "x": OutcomeKind.REJECTED,
    "?": OutcomeKind.IN_DOUBT,
}


async def check(
    sending: Sending, witness: Witness, case: Case, *, pipelining: bool = True, before: int = 0
) -> None:
    """Send a message, and see that it ends as the table says; `before` were delivered already."""
    sending.timeouts = case.timeouts
    outcome = await sending.to(witness)
    delivered = len(witness.deliveries) - before
    stage = Stage.FINAL if case.cell == "+" else case.stage_seen(pipelining=pipelining)
    assert (outcome.kind, outcome.stage) == (KIND_OF[case.cell], stage)
    if case.cell != "?":
        assert delivered == (case.cell == "+")
    assert str(outcome).isascii()
    assert str(outcome).isprintable()
    assert LOGIN[1] not in str(outcome)


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(case, mode, id=f"{case}-{mode}")
        for case, mode in itertools.product(CASES, MODES)
        if case.where != "starttls" or mode == "starttls"
    ],
)
async def test_a_fault_becomes_the_outcome_that_the_table_says(
    case: Case, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    plan: Plan = case.step
    if case.where == "ehlo" and mode == "starttls":
        plan = [NORMAL, case.step]  # the EHLO behind STARTTLS
    tls = None if mode == "clear" else server_tls
    with Witness({case.where: plan}, auth=LOGIN, tls=tls, implicit_tls=mode == "implicit") as witness:
        await check(sending, witness, case)


@pytest.mark.parametrize("case", [one for one in CASES if one.where not in SESSION], ids=str)
async def test_it_is_the_same_where_commands_go_out_one_by_one(case: Case, sending: Sending) -> None:
    with Witness({case.where: case.step}, offer=LOCKSTEP_OFFER) as witness:
        await check(sending, witness, case, pipelining=False)


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", [one for one in CASES if one.where not in SESSION], ids=str)
async def test_it_is_the_same_on_a_kept_connection(
    case: Case, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    script: dict[str, Plan] = {case.where: [NORMAL, NORMAL, case.step]}
    with Witness(script, auth=LOGIN, tls=tls, implicit_tls=mode == "implicit") as witness:
        for _ in range(2):
            sending.timeouts = case.timeouts
            assert (await sending.to(witness)).kind is OutcomeKind.DELIVERED
        assert witness.connections == 1
        await check(sending, witness, case, before=2)
        dead = case.where == "mail" and case.fault in {"drop", "reset", "half", "421"}
        assert witness.connections == 1 + dead  # the fresh one met with the same fault


@pytest.mark.parametrize("case", [one for one in CASES if one.where not in SESSION], ids=str)
async def test_mail_flows_again_behind_a_fault(case: Case, sending: Sending) -> None:
    """Whatever a message has met with, nothing of it is left for the next one."""
    with Witness({case.where: [NORMAL, case.step, NORMAL]}) as witness:
        sending.timeouts = case.timeouts
        for _ in range(2):
            await sending.to(witness)
        before = len(witness.deliveries)
        sending.timeouts = {}
        assert (await sending.to(witness)).kind is OutcomeKind.DELIVERED
        await until(witness, lambda: len(witness.deliveries) > before)


@pytest.mark.parametrize("case", [one for one in CASES if isinstance(one.reply, Reply)], ids=str)
async def test_the_downstreams_own_reply_is_in_the_outcome(
    case: Case, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness({case.where: case.step}, auth=LOGIN, tls=server_tls) as witness:
        outcome = await sending.to(witness)
    assert outcome.reply is not None
    named = "<rcpt@b.example>: " if case.where == "rcpt" else ""
    assert case.reply is not None
    assert outcome.reply == replace(case.reply, text=named + case.reply.text)


# While the content is on its way: more of it than all buffers between the two take.


@pytest.mark.parametrize(
    ("step", "kind", "stage"),
    [
        pytest.param(b"452 4.3.1 full", OutcomeKind.DEFERRED, Stage.FINAL, id="4yz"),
        pytest.param(b"552 5.3.4 too big", OutcomeKind.REJECTED, Stage.FINAL, id="5yz"),
        pytest.param(b"421 4.3.2 closing", OutcomeKind.DEFERRED, Stage.FINAL, id="421"),
        pytest.param(DROP, OutcomeKind.DEFERRED, Stage.DATA, id="drop"),
        pytest.param(RESET, OutcomeKind.DEFERRED, Stage.DATA, id="reset"),
        pytest.param(Then(b"250 2.0.0 fine", HANG), OutcomeKind.DEFERRED, Stage.DATA, id="early 250"),
        pytest.param(Then(b"what?", HANG), OutcomeKind.DEFERRED, Stage.DATA, id="garbage"),
    ],
)
@pytest.mark.parametrize("tls", ["clear", "implicit"])
async def test_before_the_dot_is_out_nothing_is_in_doubt(  # noqa: PLR0917 - parameters and fixtures
    step: Step,
    kind: OutcomeKind,
    stage: Stage,
    tls: str,
    sending: Sending,
    server_tls: ssl.SSLContext,
) -> None:
    implicit = server_tls if tls == "implicit" else None
    with Witness({"content": step}, tls=implicit, implicit_tls=bool(implicit)) as witness:
        outcome = await sending.to(witness, BIG)
        assert not witness.deliveries
    assert (outcome.kind, outcome.stage) == (kind, stage), outcome
