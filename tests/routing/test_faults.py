"""A plugin that refuses gives the answer; one that fails is a fault of ours, which is transient."""

import logging
from pathlib import Path

import pytest

from smtp_router import Reply
from smtp_router.core.decision import OUR_FAULT
from tests.routing.bench import FIRST, Bench, failures, records
from tests.routing.plugins import raising
from tests.support import deferred

# Refusals.


@pytest.mark.parametrize("hook", ["select_downstream", "before_send"])
@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("Defer()", "451 4.7.0 Try again later"),
        ("Defer('over quota', code=452, enhanced='4.2.2')", "452 4.2.2 over quota"),
        ("Reject()", "550 5.7.1 Message refused"),
        ("Reject('no\\r\\n250 2.0.0 yes', code=554, enhanced='5.6.0')", "554 5.6.0 no 250 2.0.0 yes"),
    ],
)
async def test_a_refusal_is_the_answer_and_nothing_is_sent(
    tmp_path: Path, hook: str, what: str, reply: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, {"guard.py": raising(hook, what)})
    assert str(await bench.route()) == reply
    assert bench.sender.sent == []
    assert failures(caplog) == []


async def test_a_refusal_after_an_attempt_is_the_answer(tmp_path: Path) -> None:
    stop = FIRST.replace("hookimpl\n", "Defer, hookimpl\n", 1).replace(
        "(downstreams):", "(downstreams, attempts):\n    if attempts:\n        raise Defer('enough')"
    )
    bench = Bench(tmp_path, {"algorithm.py": stop}, script={"a": deferred()})
    assert str(await bench.route()) == "451 4.7.0 enough"
    assert bench.sender.names == ["a"]


# Faults.


@pytest.mark.parametrize("hook", ["select_downstream", "before_send"])
@pytest.mark.parametrize(
    "what",
    [
        "ValueError('s3cret')",
        "BaseException('s3cret')",
        "SystemExit('s3cret')",
        "KeyboardInterrupt('s3cret')",
        "PluginError('another', 's3cret')",
        "Defer('s3cret', code=550, enhanced='5.0.0')",
    ],
)
async def test_a_plugins_fault_is_transient_and_its_text_stays_inside(
    tmp_path: Path, hook: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, {"bad.py": raising(hook, what)})
    reply = await bench.route()
    assert reply == OUR_FAULT == Reply(code=451, enhanced="4.3.0", text="Local error in processing")
    assert bench.sender.sent == []
    assert records(caplog, "plugin failed") == [{"id": "message-1", "plugin": "./bad.py"}]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    "result", ["'a'", "5", "True", "downstreams", "Downstream(name='z', host='h', port=1)"]
)
async def test_what_was_not_offered_is_a_fault(
    tmp_path: Path, result: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = FIRST.replace("import hookimpl", "import Downstream, hookimpl")
    bench = Bench(tmp_path, {"algorithm.py": source.replace("downstreams[0]", result)})
    assert await bench.route() == OUR_FAULT
    assert bench.sender.sent == []
    assert "which was not offered (offered: a, b)" in caplog.text


async def test_one_that_was_tried_is_not_offered_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = FIRST.replace(
        "(downstreams):",
        "(downstreams, attempts):\n    if attempts:\n        return attempts[0].downstream",
    )
    bench = Bench(tmp_path, {"algorithm.py": source}, script={"a": deferred()})
    assert await bench.route() == OUR_FAULT
    assert bench.sender.names == ["a"]
    assert "returned a, which was not offered (offered: b)" in caplog.text


async def test_a_hook_that_hangs_is_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = """\
        import asyncio
        from smtp_router import hookimpl

        @hookimpl
        async def select_downstream():
            await asyncio.Event().wait()
        """
    bench = Bench(tmp_path, {"algorithm.py": source}, settings={"hook_timeout_s": 0.001})
    assert await bench.route() == OUR_FAULT
    assert "./algorithm.py: select_downstream took too long" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("s3cret"), OSError("s3cret"), TimeoutError()], ids=repr)
async def test_a_fault_of_our_own_is_transient_and_logged(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(tmp_path, script={"a": error})
    assert await bench.route() == OUR_FAULT
    assert failures(caplog) == ["routing failed"]
    assert records(caplog, "message")[0]["outcome"] == "deferred"
    assert bench.health("a").in_flight == 0
