"""How long a message may take, and who gets how much of it."""

from pathlib import Path

from smtp_router.core.decision import CLOCK_TOLERANCE_S, OUR_FAULT, TOO_LATE
from tests.routing.bench import FIRST, THREE, Bench
from tests.routing.plugins import STAMP
from tests.support import unreachable


async def test_what_is_left_is_shared_by_those_not_yet_tried(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        script={name: unreachable() for name in "abc"},
        takes_s={"a": 30.0, "b": 5.0},
        downstreams=THREE,
        settings={"deadline_s": 90},
    )
    start = bench.clock.now()
    await bench.route()
    assert [sent.until - start for sent in bench.sender.sent] == [30, 60, 90]
    assert [sent.deadline - start for sent in bench.sender.sent] == [90, 90, 90]


async def test_no_downstream_is_tried_after_the_deadline(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        script={"a": unreachable()},
        takes_s={"a": 10.0},
        downstreams=THREE,
        settings={"deadline_s": 10},
    )
    assert await bench.route() == TOO_LATE
    assert bench.sender.names == ["a"]


async def test_no_downstream_is_tried_if_there_is_no_time_at_all(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings={"deadline_s": CLOCK_TOLERANCE_S})
    assert await bench.route() == TOO_LATE
    assert bench.sender.names == []


async def test_hooks_may_await_while_the_clock_is_another_than_the_loops(tmp_path: Path) -> None:
    source = (
        FIRST.replace("def", "async def") + "\n" + STAMP.partition("\n")[2].replace("def", "async def")
    )
    bench = Bench(tmp_path, {"algorithm.py": source})
    bench.clock.advance(-1e9)
    assert (await bench.route()).code == 250


async def test_hooks_have_no_time_after_the_deadline(tmp_path: Path) -> None:
    slow = """\
        import asyncio
        from smtp_router import hookimpl

        @hookimpl
        def select_downstream(downstreams):
            CLOCK.advance(60)
            return downstreams[0]

        @hookimpl
        async def before_send():
            await asyncio.Event().wait()
        """
    bench = Bench(tmp_path, {"algorithm.py": slow}, settings={"deadline_s": 10, "hook_timeout_s": 3600})
    bench.globals_of("algorithm.py")["CLOCK"] = bench.clock
    assert await bench.route() == OUR_FAULT
    assert bench.sender.sent == []
