"""Where no more connections may be opened: who waits, whose turn it is, who makes room."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from smtp_router import Deferred, Delivered, Stage
from smtp_router.smtp.sender import SmtpSender
from tests.script import DROP, NORMAL, RESET, Act, Then
from tests.smtp.sending import Gate, Sending, pool, until
from tests.support import make_message
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_where_all_are_busy_a_message_waits_and_is_served_in_turn(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as witness:
        first = asyncio.create_task(sending.to(witness, more=pool(max_connections=1)))
        await gate.waits()
        others = [
            asyncio.create_task(
                sending.to(witness, make_message(id=f"m{number}"), more=pool(max_connections=1))
            )
            for number in range(5)
        ]
        await asyncio.sleep(0)
        assert "1 busy, 0 idle, 0 opening of 1, 5 waiting" in repr(sending.sender)
        gate.open()
        for outcome in await asyncio.gather(first, *others):
            assert isinstance(outcome, Delivered)
        assert witness.connections == 1
        order = [one.content.split(b" id ")[1].split(b"\r\n")[0] for one in witness.deliveries[1:]]
        assert order == [b"m%d" % number for number in range(5)]


async def test_who_waits_for_too_long_is_deferred_and_hears_why(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": gate}) as witness:
        first = asyncio.create_task(sending.to(witness, more=pool(max_connections=1)))
        await gate.waits()
        outcome = await sending.to(witness, seconds=0.05, more=pool(max_connections=1))
        reason = "no connection became free: max_connections is 1"
        assert outcome == Deferred(stage=Stage.CONNECT, reason=reason)
        gate.open()
        assert isinstance(await first, Delivered)


async def test_who_is_cancelled_while_waiting_leaves_the_turn_to_the_next(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(3)
        ]
        await gate.waits()
        tasks[1].cancel()
        gate.open()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert isinstance(done[0], Delivered)
        assert isinstance(done[2], Delivered)


async def test_whoever_is_cancelled_and_whenever_no_room_is_lost(sending: Sending) -> None:
    with Witness() as witness:
        limits = pool(max_connections=2)
        for turns in range(40):
            tasks = [asyncio.create_task(sending.to(witness, more=limits)) for _ in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[turns % 5 :: 2]:
                task.cancel()
            await asyncio.wait(tasks)
        outcomes = await asyncio.gather(*(sending.to(witness, more=limits) for _ in range(4)))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert "0 busy, 2 idle, 0 opening of 2, 0 waiting" in repr(sending.sender)


@pytest.mark.parametrize("end", [DROP, RESET], ids=str)
async def test_one_that_is_lost_just_when_somebody_has_waited_for_it_is_no_failure(
    end: Act, sending: Sending
) -> None:
    with Witness({"final": Then(NORMAL, end)}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(10)
        ]
        for outcome in await asyncio.gather(*tasks):
            assert isinstance(outcome, Delivered)
        assert witness.connections == 10


async def test_a_connection_that_cannot_be_made_leaves_its_room(sending: Sending) -> None:
    with Witness({"banner": [b"450 4.3.2 not now", b"450 4.3.2 not now", NORMAL]}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(4)
        ]
        outcomes = await asyncio.gather(*tasks)
        assert Counter(outcome.kind for outcome in outcomes) == {"deferred": 2, "delivered": 2}


async def test_beyond_the_total_the_longest_idle_makes_room(ca_file: Path) -> None:
    sender = SmtpSender(max_connections=2)
    sending = Sending(sender, ca_file)
    with Witness(name="a") as a, Witness(name="b") as b, Witness(name="c") as c:
        for witness in (a, b, c):
            await sending.to(witness)
        await until(a, lambda: a.quits == 1)
        assert (b.open_now, c.open_now) == (1, 1)
    await sender.close()
