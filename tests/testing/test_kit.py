"""Builders, the clock, and plugins made as the router makes them."""

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smtp_router import (
    Algorithms,
    Attempt,
    Clock,
    Defer,
    Delivered,
    Downstream,
    Health,
    Message,
    PluginError,
    Stage,
    hookimpl,
)
from smtp_router.testing import (
    VirtualClock,
    deferred,
    delivered,
    in_doubt,
    make_attempt,
    make_downstream,
    make_message,
    make_plugin,
    make_reply,
    rejected,
    unreachable,
)
from smtp_router.testing.watched import watched

# Builders.


def test_every_field_of_a_message_can_be_said() -> None:
    plain = make_message()
    changed = make_message(
        **{field.name: getattr(plain, field.name) for field in fields(Message) if field.init}
    )
    assert changed == plain
    assert make_message(mail_from="").mail_from == ""
    with pytest.raises(TypeError):
        make_message(sender="a@a.example")


def test_a_downstreams_options_cannot_be_changed() -> None:
    options = {"weight": 3}
    downstream = make_downstream("b", options=options, health=Health(failed=2))
    options["weight"] = 4
    assert (downstream.name, downstream.options["weight"], downstream.health.failed) == ("b", 3, 2)
    with pytest.raises(TypeError):
        downstream.options["weight"] = 5  # type: ignore[index]


def test_outcomes_are_what_their_replies_say() -> None:
    assert str(delivered()) == "delivered at final: 250 2.0.0 queued"
    assert str(deferred("451 4.3.0 later", Stage.MAIL)) == "deferred at mail: 451 4.3.0 later"
    assert str(unreachable()) == "deferred at connect: gone"
    assert str(rejected()) == "rejected at rcpt: 550 5.1.1 no such user"
    assert str(in_doubt()) == "in_doubt at final: connection lost"
    assert make_reply("250").code == 250


def test_an_attempt_is_at_a_downstream_or_at_one_of_a_name() -> None:
    there = make_downstream("b", options={"weight": 3})
    assert make_attempt(there, rejected()) == Attempt(downstream=there, outcome=rejected(), seconds=0.1)
    assert make_attempt("c").downstream.name == "c"
    assert isinstance(make_attempt().outcome, Delivered)


# The clock.


def test_virtual_time_moves_only_when_it_is_told_to() -> None:
    clock: Clock = VirtualClock()
    assert (clock.now(), clock.wall()) == (clock.now(), clock.wall())
    clock = VirtualClock(start=5)
    before = clock.wall()
    clock.advance(2)
    assert (clock.now(), clock.wall() - before) == (7, timedelta(seconds=2))
    clock.wall_is_off_s = -3600
    assert (clock.now(), clock.wall() - before) == (7, timedelta(seconds=2 - 3600))


async def test_who_sleeps_wakes_up_in_time() -> None:
    clock = VirtualClock()
    short, long = asyncio.ensure_future(clock.sleep(1)), asyncio.ensure_future(clock.sleep(2))
    await asyncio.sleep(0)
    assert clock.sleeping == 2
    clock.advance(1)
    await asyncio.sleep(0)
    assert (short.done(), long.done(), clock.sleeping) == (True, False, 1)
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    assert clock.sleeping == 0
    clock.advance(5)


async def test_the_clock_can_be_moved_from_another_thread() -> None:
    clock = VirtualClock()
    asyncio.get_running_loop().set_debug(True)  # it then tells who calls it from another thread
    sleeping = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    threading.Thread(target=clock.advance, args=(1,)).start()
    async with asyncio.timeout(10):
        await sleeping


# Plugins.


class Wants:
    """Asks for all that the router gives."""

    def __init__(self, clock: Clock, algorithms: Algorithms, chance: random.Random, to: object) -> None:
        self.clock, self.chance = clock, chance
        self._other = algorithms.make(to, at="to")
        self.told: list[str] = []

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        if not message.mail_from:
            raise Defer("later")
        found = self._other.select_downstream(message, downstreams, ())
        assert isinstance(found, Downstream)
        return found

    @hookimpl
    def before_send(self, message: Message) -> Message:
        return message.with_header("X", "1")

    @hookimpl
    async def after_send(self, attempt: Attempt) -> None:
        self.told.append(attempt.downstream.name)

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        if len(downstreams) > 2:
            raise ValueError("two are enough")

    @hookimpl
    def close(self) -> None:
        self.told.append("closed")


A, B = make_downstream("a"), make_downstream("b")


async def test_a_plugin_is_given_what_the_router_gives() -> None:
    clock = VirtualClock()
    plugin = make_plugin(Wants, {"to": "round_robin"}, clock=clock, downstreams=[A, B])
    assert plugin.instance.clock is clock
    assert plugin.name == "Wants"
    assert set(plugin.hooks) >= {"select_downstream", "close"}
    chosen = [await plugin.select_downstream([A, B], message=make_message()) for _ in range(3)]
    assert chosen == [A, B, A]
    assert (await plugin.before_send(make_message(), A)).content.startswith(b"X: 1\r\n")
    await plugin.after_send(make_message(), make_attempt("b"))
    await plugin.close()
    assert plugin.instance.told == ["b", "closed"]
    with pytest.raises(Defer):
        await plugin.select_downstream([A], message=make_message(mail_from=""))


def test_chance_repeats_and_is_another_for_another_seed() -> None:
    first, again, other = (
        make_plugin(Wants, {"to": "failover"}, seed=seed).instance.chance.random() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "Wants: is missing"),
        ({"to": "failover", "clock": 1}, "Wants: is not an option: the router gives it"),
        ({"to": "failover", "too": 1}, "Wants: is not an option: did you mean to"),
        ({"to": "fallover"}, "fallover: is not installed"),
    ],
)
def test_options_are_checked_as_in_the_router(options: dict[str, object], why: str) -> None:
    with pytest.raises(PluginError, match=f"^{why}"):
        make_plugin(Wants, options)


def test_downstreams_that_the_plugin_refuses_are_an_error() -> None:
    with pytest.raises(PluginError, match="two are enough"):
        make_plugin(Wants, {"to": "failover"}, downstreams=[A, B, make_downstream("c")])


async def test_a_plugin_can_be_named_in_every_way(tmp_path: Path) -> None:
    source = (
        "from smtp_router import hookimpl\n"
        "@hookimpl\ndef select_downstream(downstreams):\n    return downstreams[-1]\n"
    )
    (tmp_path / "last.py").write_text(source)
    module = ModuleType("last")
    exec(source, module.__dict__)  # noqa: S102 - as an import does
    for target in (tmp_path / "last.py", str(tmp_path / "last.py"), module):
        plugin = make_plugin(target)
        assert await plugin.select_downstream([A, B], message=make_message()) == B
        assert isinstance(plugin.instance, ModuleType)
    made = make_plugin("round_robin").instance
    plugin = make_plugin(made)
    assert plugin.instance is made
    assert await plugin.select_downstream([A, B], message=make_message()) == A
    with pytest.raises(TypeError, match="is made already takes no options"):
        make_plugin(made, {"a": 1})


async def test_what_was_not_offered_is_an_error() -> None:
    class Strange:
        @hookimpl
        def select_downstream(self) -> Downstream:
            return make_downstream("c")

    with pytest.raises(PluginError, match="returned c, which was not offered"):
        await make_plugin(Strange).select_downstream([A, B], message=make_message())


# Watching.


def test_what_never_ends_is_ended_and_named() -> None:
    ended = threading.Event()

    def never() -> None:
        try:
            while True:
                pass
        finally:
            ended.set()

    async def work() -> None:
        never()

    with pytest.raises(
        AssertionError, match=r"has not come back within 0\.2 s; it is here:\n(?s:.*)in never"
    ):
        watched(work, 0.2)
    assert ended.wait(10)


def test_what_goes_on_for_ever_is_ended_too() -> None:
    ended = threading.Event()

    def never() -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(AssertionError, match=r"has not come to an end within 0\.5 s"):
        watched(lambda: asyncio.to_thread(never), all_s=0.5)
    assert ended.wait(10)


MEASURING = """
def measure(lock, end):
    lock.acquire()
    while time.monotonic() < end:
        pass
    lock.release()
"""


def test_a_thread_that_measures_coverage_is_not_ended_there() -> None:
    """It would leave a lock behind that everybody needs."""
    measuring = {"__name__": "coverage.made_up", "time": time}
    exec(MEASURING, measuring)  # noqa: S102 - a module of that name
    measure: Any = measuring["measure"]
    lock = threading.Lock()

    async def work() -> None:
        measure(lock, time.monotonic() + 0.5)
        while True:
            pass

    with pytest.raises(AssertionError, match=r"has not come back within 0\.1 s"):
        watched(work, 0.1)
    assert lock.acquire(blocking=False)


def test_what_work_returns_or_raises_comes_out() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 1

    async def raises() -> None:
        raise TimeoutError("its own")

    assert watched(work) == 1
    with pytest.raises(TimeoutError, match="its own"):
        watched(raises)
