"""Round robin in the router: many messages at once, and a downstream whose turn is no use."""

import asyncio
from collections import Counter
from pathlib import Path

from smtp_router import Outcome
from tests.routing.bench import THREE, Bench
from tests.support import Sent, delivered, unreachable

ROUND_ROBIN = Path(__file__).parents[2] / "plugins/round_robin/smtp_router_round_robin/__init__.py"


async def test_round_robin_spreads_200_concurrent_messages_evenly(tmp_path: Path) -> None:
    async def later(_: Sent) -> Outcome:
        for _turn in range(3):
            await asyncio.sleep(0)
        return delivered()

    bench = Bench(
        tmp_path,
        script=dict.fromkeys("abc", later),
        downstreams=THREE,
        algorithm=str(ROUND_ROBIN),
        settings={"allow_writable_plugins": True},
    )
    replies = await asyncio.gather(*(bench.route(id=str(number)) for number in range(200)))
    assert {reply.code for reply in replies} == {250}
    counts = Counter(bench.sender.names)
    assert max(counts.values()) - min(counts.values()) <= 1
    figures = [bench.health(name) for name in "abc"]
    assert [(one.in_flight, one.failed) for one in figures] == [(0, 0)] * 3


async def test_the_turn_of_a_failing_downstream_goes_to_another(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        script={"b": unreachable()},
        downstreams=THREE,
        algorithm=str(ROUND_ROBIN),
        settings={"allow_writable_plugins": True},
    )
    outcomes = [await bench.route() for _ in range(30)]
    assert {reply.code for reply in outcomes} == {250}
    counts = Counter(name for name in bench.sender.names if name != "b")
    assert abs(counts["a"] - counts["c"]) <= 1
