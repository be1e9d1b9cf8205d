"""Who keeps connections, where the order of things cannot be had from outside."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from smtp_router.config.settings import Downstream, Timeouts
from smtp_router.smtp.alarm import Alarm
from smtp_router.smtp.channel import Channel
from smtp_router.smtp.keeper import House, Keeper
from smtp_router.smtp.outbox import Outbox
from smtp_router.smtp.sender import SmtpSender
from smtp_router.tokens.tokens import Tokens
from tests.smtp.sending import Sending
from tests.witness import Witness

UNTIL = 1e9

Lend = Callable[[], Coroutine[None, None, Channel]]


@pytest.fixture
def downstream(w: Witness) -> Downstream:
    """One with room for a single connection."""
    more = {"tls_ca": None, "pool": {"max_connections": 1}}
    return Sending(SmtpSender(), Path("ca.pem")).settings(w, more).users[0].downstreams[0]


@pytest.fixture
async def lend(keeper: Keeper, downstream: Downstream) -> Lend:
    return lambda: keeper.lend(downstream, Timeouts(), UNTIL)


@pytest.fixture
async def house() -> House:
    loop = asyncio.get_running_loop()
    return House(loop=loop, alarm=Alarm(loop), tokens=Tokens(loop), outbox=Outbox(loop))


@pytest.fixture
async def keeper(downstream: Downstream, house: House) -> AsyncIterator[Keeper]:
    yield Keeper(downstream, "router.example", house, lambda: None)
    for channel in tuple(house.channels):
        channel.close()
        await channel.closed()


async def test_a_connection_lost_on_the_way_to_who_waited_for_it_is_not_lent(
    keeper: Keeper, lend: Lend
) -> None:
    first = await lend()
    waiting = asyncio.create_task(lend())
    await asyncio.sleep(0)
    keeper.ready(first)
    first.close()
    second = await waiting
    assert second is not first
    assert not keeper.is_used(second)


async def test_nor_is_it_passed_on_by_one_who_leaves(keeper: Keeper, lend: Lend) -> None:
    first = await lend()
    waiting = asyncio.create_task(lend())
    await asyncio.sleep(0)
    keeper.ready(first)
    first.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await lend() is not first


async def test_a_turn_comes_to_the_next_if_its_owner_has_just_left(keeper: Keeper, lend: Lend) -> None:
    first = await lend()
    waiting = [asyncio.create_task(lend()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    keeper.ready(first)
    assert await waiting[1] is first
    assert keeper.is_used(first)


async def test_nothing_is_looked_after_any_more_when_there_is_nothing_left(
    keeper: Keeper, house: House, lend: Lend
) -> None:
    channel = await lend()
    keeper.ready(channel)
    channel.close()
    await channel.closed()
    keeper.check(0.0)
    assert house.alarm.at == math.inf


async def test_what_a_retired_one_opens_is_looked_after_no_longer_than_it_is_there(
    keeper: Keeper, house: House, lend: Lend
) -> None:
    keeper.retire()
    channel = await lend()
    keeper.ready(channel)
    await channel.closed()
    assert house.alarm.at == math.inf
