"""The open sessions of a listener, and the timer that looks after them."""

import asyncio

import pytest

from smtp_router.smtp.register import MAX_TICK_S, TICKS, Register


class Visited:
    """A session that notes when it is looked after."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.again = asyncio.Event()

    def check(self, now: float) -> None:
        self.at.append(now)
        self.again.set()

    async def visits(self, number: int) -> None:
        while len(self.at) < number:
            self.again.clear()
            await self.again.wait()


def make(idle_s: float = 0.02) -> Register[Visited]:
    return Register(asyncio.get_running_loop(), lambda: idle_s)


async def test_every_session_is_looked_after_for_as_long_as_it_is_there() -> None:
    register = make()
    one, other = Visited(), Visited()
    register.add(one)
    register.add(other)
    await one.visits(3)
    assert one.at == other.at
    register.discard(one)
    before = len(one.at)
    await other.visits(before + 3)
    assert len(one.at) == before


async def test_one_timer_looks_after_all_of_them() -> None:
    register = make()
    sessions = [Visited() for _ in range(100)]
    for session in sessions:
        register.add(session)
    await sessions[0].visits(2)
    assert len({tuple(session.at[:2]) for session in sessions}) == 1


async def test_with_nobody_there_nothing_ticks_and_later_it_does_again() -> None:
    register = make()
    one = Visited()
    register.add(one)
    register.discard(one)
    register.add(one)
    await one.visits(2)
    register.discard(one)
    later = Visited()
    register.add(later)
    await later.visits(2)
    register.discard(later)
    assert all(second - first > 0 for first, second in zip(later.at, later.at[1:], strict=False))


@pytest.mark.parametrize(("idle_s", "tick_s"), [(300, MAX_TICK_S), (10, 0.5), (0.2, 0.01)])
async def test_a_time_limit_is_kept_to_a_twentieth_or_a_second(
    idle_s: float, tick_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []
    real = loop.call_later

    def call_later(delay: float, *rest: object) -> asyncio.TimerHandle:
        asked.append(delay)
        return real(0, *rest)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(loop, "call_later", call_later)
    register = make(idle_s)
    one = Visited()
    register.add(one)
    await one.visits(3)
    register.discard(one)
    assert asked[:3] == [pytest.approx(tick_s)] * 3
    assert tick_s <= max(idle_s / TICKS, MAX_TICK_S)


async def test_a_session_may_leave_while_it_is_looked_after() -> None:
    register = make()

    class Leaving(Visited):
        def check(self, now: float) -> None:
            super().check(now)
            register.discard(self)

    sessions = [Leaving() for _ in range(5)]
    for session in sessions:
        register.add(session)
    await register.empty()
    assert [len(session.at) for session in sessions] == 5 * [1]
    assert list(register) == []


async def test_it_is_empty_when_the_last_one_has_left() -> None:
    register = make()
    await register.empty()
    one, other = Visited(), Visited()
    register.add(one)
    register.add(other)
    waiting = asyncio.ensure_future(register.empty())
    for session in (one, other):
        await asyncio.sleep(0)
        assert not waiting.done()
        register.discard(session)
    await waiting
    register.discard(one)  # which tells it twice
    await register.empty()


async def test_a_session_that_fails_is_no_end_of_time_for_the_others() -> None:
    register = make()
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failed.append(context["exception"])
    )

    class Failing(Visited):
        def check(self, now: float) -> None:
            super().check(now)
            raise RuntimeError

    one, other = Failing(), Visited()
    register.add(one)
    await one.visits(1)
    register.add(other)
    await one.visits(3)
    register.discard(one)
    await other.visits(1)
    register.discard(other)
    assert len(failed) >= 3
