"""Those who wait in line for a connection hear when there will be none."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from smtp_router import Deferred, Delivered, Outcome, Stage
from tests.script import HANG, NORMAL
from tests.smtp.sending import Sending, until
from tests.support import make_message
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

FEW: Mapping[str, object] = MappingProxyType({"pool": {"max_connections": 1}})
CLIENTS = 6


async def send(sending: Sending, witness: Witness, number: int = CLIENTS) -> list[Outcome]:
    """So many at the same time."""
    messages = [make_message(id=f"m{each}") for each in range(number)]
    return list(await asyncio.gather(*(sending.to(witness, one, more=FEW) for one in messages)))


async def test_where_nobody_answers_they_do_not_find_out_one_after_the_other(sending: Sending) -> None:
    sending.timeouts = {"banner_s": 0.3}
    with Witness({"banner": HANG}) as witness:
        began = asyncio.get_running_loop().time()
        outcomes = await send(sending, witness)
        assert asyncio.get_running_loop().time() - began < 0.3 * CLIENTS
        assert witness.connections == 1
    assert {(type(outcome), outcome.stage) for outcome in outcomes} == {(Deferred, Stage.CONNECT)}


async def test_behind_that_the_next_one_tries_again(sending: Sending) -> None:
    sending.timeouts = {"banner_s": 0.3}
    with Witness({"banner": [HANG, NORMAL]}) as witness:
        await send(sending, witness)
        assert isinstance(await sending.to(witness, more=FEW), Delivered)


async def test_where_a_reply_is_the_reason_each_gets_its_own(sending: Sending) -> None:
    with Witness({"banner": [b"421 4.3.2 not now", NORMAL]}) as witness:
        outcomes = await send(sending, witness)
        assert [type(outcome) for outcome in outcomes].count(Delivered) == CLIENTS - 1


async def test_while_a_connection_works_they_wait_for_it(sending: Sending) -> None:
    two: Mapping[str, object] = {"pool": {"max_connections": 2}}
    sending.timeouts = {"banner_s": 0.2}
    with Witness({"banner": [NORMAL, HANG]}) as witness:
        assert isinstance(await sending.to(witness, more=two), Delivered)
        messages = [make_message(id=f"m{each}") for each in range(CLIENTS)]
        outcomes = await asyncio.gather(*(sending.to(witness, one, more=two) for one in messages))
    delivered = [type(outcome) for outcome in outcomes].count(Delivered)
    assert delivered == CLIENTS - 1


async def test_one_that_has_left_the_line_is_not_told(sending: Sending) -> None:
    sending.timeouts = {"banner_s": 0.3}
    with Witness({"banner": HANG}) as witness:
        first = asyncio.ensure_future(sending.to(witness, more=FEW))
        await until(witness, lambda: witness.hanging)
        second = asyncio.ensure_future(sending.to(witness, more=FEW))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert isinstance(await first, Deferred)
