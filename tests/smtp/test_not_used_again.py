"""Connections that are dead or out of step are not used again; and what that costs a message."""

import asyncio
import ssl

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Stage
from tests.script import DROP, HANG, NORMAL, RESET, Raw, Step, Then
from tests.smtp.sending import BIG, Gate, Sending, until
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def shows(sending: Sending, words: str) -> None:
    """Let the event loop take its turns until the sender shows these words."""
    for _ in range(10_000):
        if words in repr(sending.sender):
            return
        await asyncio.sleep(0)
    assert words in repr(sending.sender)


# Dead ones


@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.4.2 idle for too long"], ids=str)
@pytest.mark.parametrize("mode", ["clear", "implicit"])
async def test_one_that_is_dead_at_mail_is_no_failure(
    end: Step, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = server_tls if mode == "implicit" else None
    with Witness({"mail": [NORMAL, end, NORMAL]}, tls=tls, implicit_tls=bool(tls)) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        assert isinstance(await sending.to(witness), Delivered)
        assert [one.connection for one in witness.deliveries] == [1, 2]


async def test_a_message_that_nobody_wants_any_more_is_not_taken_from_a_dead_one_to_a_fresh_one(
    sending: Sending,
) -> None:
    with Witness({"mail": [NORMAL, HANG, NORMAL]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        assert sending.sender._shared is not None  # noqa: SLF001 - the order cannot be had from outside
        (channel,) = sending.sender._shared.channels  # noqa: SLF001 - as above
        for _ in range(2):
            sent.cancel()
        channel.connection_lost(None)
        await asyncio.wait({sent})
        assert sent.cancelled()
        assert witness.connections == 1


async def test_a_fresh_one_that_is_dead_at_mail_is(sending: Sending) -> None:
    with Witness({"mail": [DROP, NORMAL]}) as witness:
        outcome = await sending.to(witness)
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.MAIL)
        assert witness.connections == 1


@pytest.mark.parametrize("where", ["rcpt", "data"])
@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.3.2 closing"], ids=str)
async def test_one_that_has_answered_mail_was_not_dead(where: str, end: Step, sending: Sending) -> None:
    with Witness({where: [NORMAL, end, NORMAL]}) as witness:
        await sending.to(witness)
        outcome = await sending.to(witness)
        assert isinstance(outcome, Deferred)
        assert outcome.stage == where
        assert witness.connections == 1


async def test_a_dead_one_is_not_followed_by_another_that_was_kept(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, gate, NORMAL], "mail": [NORMAL, NORMAL, RESET, NORMAL]}) as witness:
        sent = [asyncio.create_task(sending.to(witness)) for _ in range(2)]
        await gate.waits()
        await gate.waits()
        gate.open()
        await asyncio.gather(*sent)
        assert witness.open_now == 2
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.deliveries[-1].connection == 3


async def test_where_the_downstream_is_gone_that_is_the_outcome(sending: Sending) -> None:
    with Witness({"mail": [NORMAL, DROP]}) as witness:
        await sending.to(witness)
        witness.on("banner", b"421 4.3.2 going down")
        outcome = await sending.to(witness)
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.CONNECT)


@pytest.mark.parametrize("mode", ["clear", "starttls", "implicit"])
@pytest.mark.parametrize(
    "said",
    [
        Then(NORMAL, DROP),
        Then(NORMAL, RESET),
        Then(Raw(b"250 2.0.0 ok\r\n421 4.4.2 bye\r\n"), HANG),
        Raw(b"250 2.0.0 ok\r\n421 4.4.2 bye\r\n"),
        Raw(b"250 2.0.0 ok\r\n250 2.0.0 and again\r\n"),
        Raw(b"250 2.0.0 ok\r\n2"),
        Raw(b"250 2.0.0 ok\r\n\r\n"),
    ],
    ids=str,
)
async def test_whatever_comes_while_it_is_idle_ends_it(
    said: Step, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    with Witness({"final": said}, tls=tls, implicit_tls=mode == "implicit") as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await until(witness, lambda: witness.open_now == 0)
        await shows(sending, "0 busy, 0 idle")
        witness.on("final", NORMAL)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.deliveries[-1].connection == 2


async def test_a_stopped_downstream_leaves_nothing_idle(sending: Sending) -> None:
    with Witness() as witness:
        await sending.to(witness)
        witness.stop()
        await shows(sending, "0 busy, 0 idle")
        witness.start()
        assert isinstance(await sending.to(witness), Delivered)


@pytest.mark.parametrize("lines", [1, 2, 3])
async def test_a_late_stray_reply_never_passes_for_the_last_one(lines: int, sending: Sending) -> None:
    """It comes in a segment of its own, when the next message is under way."""
    gate = Gate(Raw(lines * b"250 2.0.0 stray\r\n" + b"250 2.1.0 ok\r\n"))
    with Witness({"mail": [NORMAL, gate]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await gate.waits()
        gate.open()
        outcome = await sent
        assert isinstance(outcome, Deferred)
        await until(witness, lambda: witness.open_now == 0)
        assert len(witness.deliveries) == 1


# After a cancellation, a time-out, whatever was out of step


@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_cancelled_before_the_dot_it_is_closed_and_nothing_is_sent(
    where: str, sending: Sending
) -> None:
    with Witness({where: [NORMAL, HANG]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        await asyncio.wait({sent}, timeout=5)
        assert sent.cancelled()
        await until(witness, lambda: not witness.open_now)
        assert len(witness.deliveries) == 1
        assert not witness.unanswered
        assert witness.quits == 0


@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_what_is_answered_behind_a_cancellation_sends_nothing(
    where: str, sending: Sending
) -> None:
    gate = Gate()
    with Witness({where: gate}) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await gate.waits()
        sent.cancel()
        gate.open()
        await asyncio.wait({sent}, timeout=5)
        assert sent.cancelled()
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_in_the_middle_of_the_content_nothing_is_sent(sending: Sending) -> None:
    """The final dot is not out as long as content is not taken."""
    with Witness({"content": HANG}) as witness:
        sent = asyncio.create_task(sending.to(witness, BIG))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        witness.release()
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_behind_the_dot_it_is_left_in_order_when_the_outcome_is_known(
    sending: Sending,
) -> None:
    gate = Gate()
    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness({"final": [gate, NORMAL]}) as witness:
        sent = asyncio.create_task(send())
        await gate.waits()
        sent.cancel()
        gate.open()
        await asyncio.wait({sent})
        assert isinstance(outcomes[0], Delivered)
        await until(witness, lambda: witness.quits == 1)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 2


async def test_cancelled_at_the_moment_of_the_outcome_it_is_told(sending: Sending) -> None:
    """Whatever comes first, a delivery is never forgotten."""
    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness() as witness:
        for turns in range(60):
            sent = asyncio.create_task(send())
            for _ in range(turns):
                await asyncio.sleep(0)
            delivered = len(witness.deliveries)
            sent.cancel()
            await asyncio.wait({sent})
            if not outcomes:  # before the dot: nothing is delivered, then or later
                assert len(witness.deliveries) == delivered
            else:
                assert isinstance(outcomes.pop(), Delivered)
        await sending.sender.close()
        await until(witness, lambda: not witness.open_now)
        assert not witness.unanswered


async def test_timed_out_it_is_closed(sending: Sending) -> None:
    with Witness({"final": [NORMAL, HANG, NORMAL]}) as witness:
        await sending.to(witness)
        assert isinstance(await sending.to(witness, deadline_s=0.1), InDoubt)
        await until(witness, lambda: not witness.open_now)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 2
