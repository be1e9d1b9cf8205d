"""Clients that go away before they have heard what became of their message."""

import asyncio
import logging
from pathlib import Path

import pytest

from smtp_router import Outcome
from tests.routing.bench import Bench, records
from tests.routing.plugins import TOLD
from tests.support import Sent, delivered


async def test_a_client_that_goes_away_ends_the_attempt_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sending = asyncio.Event()

    async def hang(_: Sent) -> Outcome:
        sending.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    bench = Bench(tmp_path, {"told.py": TOLD}, script={"a": hang})
    task = asyncio.create_task(bench.route())
    await sending.wait()
    assert bench.health("a").in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.health("a").in_flight == 0
    assert bench.seen("told.py") == []
    (message,) = records(caplog, "message")
    assert (message["outcome"], message["code"], message["attempts"]) == ("abandoned", None, 0)


async def test_a_client_that_goes_away_after_the_final_dot_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender whose dot is out carries on, and returns the outcome for all that."""
    caplog.set_level(logging.INFO)
    sending = asyncio.Event()

    async def carry_on(_: Sent) -> Outcome:
        sending.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return delivered()
        raise AssertionError

    bench = Bench(tmp_path, {"told.py": TOLD}, script={"a": carry_on})
    task = asyncio.create_task(bench.route())
    await sending.wait()
    task.cancel()
    await asyncio.wait([task])
    assert len(bench.seen("told.py")) == 1
    assert [one["outcome"] for one in records(caplog, "message")] == ["delivered"]
    assert bench.health("a").delivered == 1
