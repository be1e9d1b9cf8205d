"""When a token is fetched, by whose waiting, and how long it is used: in virtual time."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from smtp_router.tokens.cache import RETRY_S, Renewal, Renewing, TokenCache
from smtp_router.tokens.token import MAX_LIFETIME_S, MAX_OCTETS, Token, TokenError


class Desk:
    """A source whose answers are given by hand, its cache, and the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[asyncio.Future[Token]] = []
        self.renewals: set[Renewal] = set()
        self.cache = TokenCache(self, self._start, lambda: self.now)

    def __str__(self) -> str:
        return "desk"

    async def fetch(self) -> Token:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    def _start(self, renewing: Renewing) -> Renewal:
        renewal = asyncio.ensure_future(renewing)
        self.renewals.add(renewal)
        return renewal

    async def turn(self) -> None:
        """Let everybody do what there is to do."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def have(self, text: str, lifetime_s: float = 100) -> None:
        """Fill the cache."""
        getting = asyncio.ensure_future(self.cache.get())
        await self.turn()
        self.asked[-1].set_result(Token(text=text, lifetime_s=lifetime_s))
        assert await getting == text


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    for renewal in desk.renewals:
        renewal.cancel()
    await asyncio.gather(*desk.renewals, return_exceptions=True)


async def test_all_who_need_a_token_wait_for_one_renewal(desk: Desk) -> None:
    getting = [asyncio.ensure_future(desk.cache.get()) for _ in range(10)]
    await desk.turn()
    assert len(desk.asked) == 1
    desk.asked[0].set_result(Token(text="t", lifetime_s=100))
    assert await asyncio.gather(*getting) == 10 * ["t"]


async def test_one_who_gives_up_does_not_end_it_for_the_others(desk: Desk) -> None:
    first, second = (asyncio.ensure_future(desk.cache.get()) for _ in range(2))
    await desk.turn()
    first.cancel()
    await desk.turn()
    desk.asked[0].set_result(Token(text="t", lifetime_s=100))
    assert await second == "t"
    assert first.cancelled()


async def test_a_token_is_renewed_ahead_of_time_and_nobody_waits_for_it(desk: Desk) -> None:
    await desk.have("old")
    desk.now += 79
    assert await desk.cache.get() == "old"
    await desk.turn()
    assert len(desk.asked) == 1
    desk.now += 1
    for _ in range(3):
        assert await desk.cache.get() == "old"
        await desk.turn()
    assert len(desk.asked) == 2
    desk.asked[1].set_result(Token(text="new", lifetime_s=100))
    await desk.turn()
    assert await desk.cache.get() == "new"


async def test_a_token_at_the_end_of_its_life_is_not_used(desk: Desk) -> None:
    await desk.have("old")
    desk.now += 95
    getting = asyncio.ensure_future(desk.cache.get())
    await desk.turn()
    assert not getting.done()
    desk.asked[1].set_result(Token(text="new", lifetime_s=100))
    assert await getting == "new"


async def test_its_life_begins_when_it_is_asked_for(desk: Desk) -> None:
    getting = asyncio.ensure_future(desk.cache.get())
    await desk.turn()
    desk.now += 20
    desk.asked[0].set_result(Token(text="t", lifetime_s=100))
    await getting
    desk.now += 75
    asyncio.ensure_future(desk.cache.get()).cancel()
    getting = asyncio.ensure_future(desk.cache.get())
    await desk.turn()
    assert not getting.done()


async def test_where_renewing_fails_the_token_lasts_and_the_source_is_left_alone_for_a_while(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.have("old", 1000)
    desk.now += 800
    await desk.cache.get()
    await desk.turn()
    desk.asked[1].set_exception(TokenError("no"))
    await desk.turn()
    desk.now += RETRY_S - 1
    assert await desk.cache.get() == "old"
    await desk.turn()
    assert len(desk.asked) == 2
    desk.now += 1
    assert await desk.cache.get() == "old"
    await desk.turn()
    assert len(desk.asked) == 3
    (record,) = caplog.get_records("call")
    assert (record.levelno, record.message) == (logging.WARNING, "access token not renewed")
    assert vars(record)["fields"] == {"source": "desk", "reason": "no"}


async def test_without_a_token_the_source_is_asked_again_and_its_reason_told(desk: Desk) -> None:
    for number in range(2):
        getting = asyncio.ensure_future(desk.cache.get())
        await desk.turn()
        desk.asked[number].set_exception(TokenError(f"no {number}"))
        with pytest.raises(TokenError, match=f"no {number}"):
            await getting


async def test_a_refused_token_is_forgotten_and_a_newer_one_is_not(desk: Desk) -> None:
    await desk.have("old")
    desk.cache.drop("older")
    assert await desk.cache.get() == "old"
    desk.cache.drop("old")
    await desk.have("new")
    desk.cache.drop("old")
    assert await desk.cache.get() == "new"


async def test_a_token_that_lives_no_longer_than_a_moment_is_used_once(desk: Desk) -> None:
    await desk.have("one", 0)
    await desk.have("two", 0)
    assert len(desk.asked) == 2


async def test_a_renewal_does_not_take_for_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtp_router.tokens.cache.RENEWAL_S", 0.01)
    with pytest.raises(TokenError, match="timed out"):
        await desk.cache.get()


async def test_the_log_has_no_token(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await desk.have("s3cret-t0ken")
    assert caplog.records
    assert not [record for record in caplog.records if "s3cret" in str(vars(record))]


def test_a_token_shows_nothing_of_itself() -> None:
    assert "s3cret" not in repr(Token(text="s3cret", lifetime_s=1))


@pytest.mark.parametrize("text", ["", "a b", "a\x01b", "a\r\nb", "ü", MAX_OCTETS * "x" + "x", 5, None])
def test_what_could_not_stand_in_a_login_is_no_token(text: object) -> None:
    with pytest.raises(TokenError):
        Token.made_of(text, 1)


@pytest.mark.parametrize(("said", "used"), [(-5, 0), (10**30, MAX_LIFETIME_S), (60, 60)])
def test_a_lifetime_is_bounded(said: float, used: float) -> None:
    assert Token.made_of("t", said).lifetime_s == used
