"""The sender, message by message: what goes out, and what becomes of it when somebody goes away."""

import asyncio
import itertools
import threading
from dataclasses import replace

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Message, Outcome, Rejected, Reply, Stage
from smtp_router.core.outcome import OutcomeKind
from tests.running import Config
from tests.script import DRIP, DROP, HANG, NORMAL, RESET, Plan, Step
from tests.smtp.sending import BIG, LOGIN, ONCE, Sending, until
from tests.support import make_message
from tests.witness import Witness


async def test_a_reply_that_drips_is_a_reply(sending: Sending) -> None:
    with Witness({"mail": DRIP}) as witness:
        assert isinstance(await sending.to(witness), Delivered)


async def test_the_time_for_mail_begins_when_it_is_said(sending: Sending) -> None:
    sending.timeouts = {"mail_s": 0.2}

    def slow(_: bytes) -> Step:
        threading.Event().wait(0.4)
        return NORMAL

    with Witness({"banner": slow}) as witness:
        assert isinstance(await sending.to(witness), Delivered)


async def test_nobody_listening_is_deferred_at_connect(sending: Sending, w: Witness) -> None:
    w.stop()
    outcome = await sending.to(w)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.CONNECT)


async def test_a_name_that_does_not_exist_is_deferred_at_connect(sending: Sending, w: Witness) -> None:
    outcome = await sending.to(w, more={"addr": "host.invalid:25"})
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.CONNECT)


async def test_content_that_is_not_read_is_given_up_when_the_attempts_time_is_over(
    sending: Sending,
) -> None:
    with Witness({"content": HANG}) as witness:
        outcome = await sending.to(witness, BIG, seconds=0.3)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.DATA)


async def test_the_dot_may_go_out_late_and_the_reply_come_later_still(sending: Sending) -> None:
    """`until` ends with the dot; from there on, the message's deadline counts."""
    waited = threading.Event()

    def wait(_: bytes) -> Step:
        waited.wait(5)
        return NORMAL

    with Witness({"final": wait}) as witness:
        sent = asyncio.create_task(sending.to(witness, seconds=0.2))
        done, _ = await asyncio.wait({sent}, timeout=0.4)
        assert not done
        waited.set()
        assert isinstance(await sent, Delivered)


async def test_no_reply_to_the_dot_by_the_deadline_is_in_doubt(sending: Sending) -> None:
    with Witness({"final": HANG}) as witness:
        outcome = await sending.to(witness, seconds=0.2, deadline_s=0.3)
        assert len(witness.unanswered) + len(witness.hanging) > 0
    assert isinstance(outcome, InDoubt)


# Cancellation: the client is gone


@pytest.mark.parametrize("where", ["banner", "ehlo", "auth", "mail", "rcpt", "data"])
async def test_cancelled_before_the_dot_nothing_is_sent(sending: Sending, where: str) -> None:
    with Witness({where: HANG}, auth=LOGIN) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_behind_the_dot_the_outcome_is_waited_for(sending: Sending) -> None:
    released = threading.Event()
    reached = threading.Event()

    def wait(_: bytes) -> Step:
        reached.set()
        released.wait(5)
        return NORMAL

    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness({"final": wait}) as witness:
        sent = asyncio.create_task(send())
        await asyncio.to_thread(reached.wait, 5)
        sent.cancel()
        done, _ = await asyncio.wait({sent}, timeout=0.1)
        assert not done
        released.set()
        await asyncio.wait({sent}, timeout=5)
        assert isinstance(outcomes[0], Delivered)
        assert len(witness.deliveries) == 1
        assert sent.cancelled()  # the cancellation counts from the next wait on


async def test_cancelled_twice_behind_the_dot_it_is_in_doubt(sending: Sending) -> None:
    with Witness({"final": HANG}) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        sent.cancel()
        assert isinstance(await sent, InDoubt)
        await until(witness, lambda: not witness.open_now)


# Recipients

ANSWERS = {"+": b"250 2.1.5 yes", "4": b"450 4.2.1 not now", "5": b"550 5.1.1 not here"}
NAMES = tuple(f"r{number}@b.example" for number in range(4))


@pytest.mark.parametrize("pattern", ["".join(one) for one in itertools.product("+45", repeat=4)])
async def test_recipients_are_taken_all_or_none(sending: Sending, pattern: str) -> None:
    script: dict[str, Plan] = {
        f"rcpt:{name}": ANSWERS[answer] for name, answer in zip(NAMES, pattern, strict=True)
    }
    with Witness(script) as witness:
        outcome = await sending.to(witness, make_message(rcpt_tos=NAMES))
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    verbs = [line.split()[0].decode() for line in witness.commands]
    decisive = next((answer for answer in "54" if answer in pattern), "+")
    if decisive == "+":
        assert isinstance(outcome, Delivered)
        assert verbs == ["EHLO", "MAIL", *4 * ["RCPT"], "DATA", "QUIT"]
        assert witness.deliveries[0].rcpt_tos == tuple(name.encode() for name in NAMES)
        return
    assert isinstance(outcome, Rejected if decisive == "5" else Deferred)
    assert outcome.stage is Stage.RCPT
    assert verbs == ["EHLO", "MAIL", *4 * ["RCPT"], "RSET", "QUIT"]
    code, enhanced, text = ANSWERS[decisive].decode().split(" ", 2)
    refused = NAMES[pattern.index(decisive)]
    assert outcome.reply == Reply(code=int(code), enhanced=enhanced, text=f"<{refused}>: {text}")
    assert not witness.deliveries


@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.3.2 closing"], ids=str)
async def test_a_connection_lost_among_the_recipients_is_deferred(sending: Sending, end: Step) -> None:
    with Witness({"rcpt:r0@b.example": b"550 5.1.1 not here", "rcpt:r2@b.example": end}) as witness:
        outcome = await sending.to(witness, make_message(rcpt_tos=NAMES))
        assert not witness.deliveries
    assert outcome.stage is Stage.RCPT


# The parameters of MAIL

UTF8 = make_message(
    mail_from="jürgen@a.example",
    rcpt_tos=("用户@例え.example",),
    mail_parameters={"SMTPUTF8": None, "BODY": "8BITMIME", "SIZE": "5"},
)


@pytest.mark.parametrize(
    ("offer", "asked", "said"),
    [
        ((), {}, b""),
        ((), {"SIZE": "5"}, b""),
        ((), {"BODY": "7BIT"}, b""),
        (("SIZE", "8BITMIME", "SMTPUTF8"), {"SMTPUTF8": None}, b" SIZE=%d SMTPUTF8"),
        (("8BITMIME",), {"BODY": "8BITMIME"}, b" BODY=8BITMIME"),
        (("8BITMIME",), {"BODY": "8bitmime"}, b" BODY=8BITMIME"),
        (("SIZE",), {}, b" SIZE=%d"),
        (("SIZE 1000000",), {"SIZE": "5"}, b" SIZE=%d"),
        (("SMTPUTF8",), {"SMTPUTF8": None}, b" SMTPUTF8"),
    ],
)
async def test_parameters_are_passed_on_where_they_are_offered(
    sending: Sending, offer: tuple[str, ...], asked: dict[str, str | None], said: bytes
) -> None:
    with Witness(offer=offer) as witness:
        outcome = await sending.to(witness, make_message(mail_parameters=asked))
    assert isinstance(outcome, Delivered)
    (delivery,) = witness.deliveries
    size = len(delivery.content)
    assert delivery.mail_line == b"MAIL FROM:<sender@a.example>" + said.replace(b"%d", b"%d" % size)
    assert delivery.rcpt_lines == (b"RCPT TO:<rcpt@b.example>",)


async def test_the_size_said_is_that_of_the_content_as_it_is_sent(sending: Sending, w: Witness) -> None:
    """With the Received field, without stuffed dots (RFC 1870 5)."""
    await sending.to(w, make_message(content=b"A: b\r\n\r\n.\r\n..\r\nend"))
    (delivery,) = w.deliveries
    assert b"SIZE=%d" % len(delivery.content) in delivery.mail_line.split()


@pytest.mark.parametrize(
    ("offer", "message", "enhanced"),
    [
        (("SIZE", "SMTPUTF8"), replace(UTF8, content=b"Subject: \xc3\xbc\r\n"), "5.6.3"),
        (("SIZE", "8BITMIME"), UTF8, "5.6.7"),
        (("8BITMIME",), make_message(rcpt_tos=("用户@b.example",)), "5.6.7"),
    ],
)
async def test_a_downstream_that_lacks_what_the_message_needs_does_not_get_it(
    sending: Sending, offer: tuple[str, ...], message: Message, enhanced: str
) -> None:
    with Witness(offer=offer) as witness:
        outcome = await sending.to(witness, message)
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.MAIL)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, enhanced)
    assert isinstance(outcome, Deferred)
    assert outcome.incapable
    assert witness.commands == [b"EHLO router.example", b"QUIT"]


async def test_addresses_go_out_as_the_octets_they_came_in(sending: Sending, w: Witness) -> None:
    assert isinstance(await sending.to(w, UTF8), Delivered)
    (delivery,) = w.deliveries
    assert delivery.mail_from == "jürgen@a.example".encode()
    assert delivery.rcpt_tos == ("用户@例え.example".encode(),)


# EHLO and QUIT


async def test_a_downstream_without_ehlo_gets_helo(sending: Sending) -> None:
    with Witness({"ehlo": b"502 5.5.1 what?"}) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    assert witness.commands[:3] == [
        b"EHLO router.example",
        b"HELO router.example",
        b"MAIL FROM:<sender@a.example>",
    ]


@pytest.mark.parametrize("more", [{"user": "u", "pass": "p"}, {"tls": "starttls"}], ids=str)
async def test_helo_is_no_way_around_login_and_tls(sending: Sending, more: Config) -> None:
    with Witness({"ehlo": b"502 5.5.1 what?"}) as witness:
        assert isinstance(await sending.to(witness, more=more), Deferred)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)
    assert witness.commands[:2] == [b"EHLO router.example", b"HELO router.example"]
    assert witness.commands[2:] in ([], [b"QUIT"])


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"ehlo": b"450 4.3.2 later"},
        {"mail": b"450 4.3.0 not now"},
        {"rcpt": b"550 5.1.1 not here"},
        {"data": b"451 4.3.0 not now"},
        {"final": b"550 5.7.1 spam"},
    ],
    ids=str,
)
async def test_good_bye_is_said(sending: Sending, script: dict[str, Plan]) -> None:
    """RFC 5321 4.1.1.10."""
    with Witness(script) as witness:
        await sending.to(witness)
        await sending.sender.close()
        await until(witness, lambda: witness.quits == 1)
        await until(witness, lambda: witness.open_now == 0)


@pytest.mark.parametrize("step", [b"554 5.0.0 no", b"what?", DROP, RESET], ids=str)
async def test_what_becomes_of_quit_does_not_matter(sending: Sending, step: Step) -> None:
    with Witness({"quit": step}) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)


async def test_the_outcome_does_not_wait_for_quit(sending: Sending) -> None:
    with Witness({"quit": HANG}) as witness:
        assert isinstance(await sending.to(witness, more=ONCE), Delivered)
        await until(witness, lambda: witness.hanging)
        witness.release()
        await sending.sender.close()


# Content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"no end",
        b".",
        b".\r\n..\r\n...\r\n",
        b"A: b\r\n\r\n" + 100_000 * b"x",
        b"A: b\n\nbare\nlf\n.\nand\rcr\r.\r\r\n",
        b"A: b\r\n\r\nnul \0 8-bit \xff\xfe\r\n",
        bytes(range(256)) * 4,
    ],
    ids=lambda content: repr(content[:20]),
)
async def test_content_arrives_as_it_is_below_one_received(
    sending: Sending, w: Witness, content: bytes
) -> None:
    assert isinstance(await sending.to(w, make_message(content=content)), Delivered)
    end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
    assert w.deliveries[0].body_below_received == content + end
