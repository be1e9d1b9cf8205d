"""What is written down about every message: who was offered, who not and why, who said what."""

import gc
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smtp_router import Deferred, Stage
from smtp_router.core.breaker import Rules
from smtp_router.core.trace import (
    MAX_ANSWERS,
    MAX_NOTE_CHARS,
    MAX_NOTES,
    MAX_RECIPIENTS,
    Answers,
    note,
)
from smtp_router.routing.lease import BooksInMemory
from smtp_router.routing.traces import SHOWN, Traces
from tests.routing.bench import Bench, records
from tests.support import (
    config_text,
    deferred,
    delivered,
    in_doubt,
    make_message,
    make_reply,
    unreachable,
    user_config,
)

EXPLAINING = """\
from smtp_router import Defer, hookimpl, note

@hookimpl
def select_downstream(message, downstreams):
    note(f"{len(downstreams)} to choose from")
    return downstreams[0]

@hookimpl
def before_send(message, downstream):
    note("stamped")
    return message.with_header("X-To", downstream.name)

@hookimpl
def after_send(attempt):
    note(f"it was {attempt.outcome.kind}")
"""
SILENT = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    return None

@hookimpl
def before_send(message):
    return None
"""


def told(bench: Bench) -> dict[str, Any]:
    """The trace of the last message."""
    return bench.traces.find("")[-1].told()


def left_out(bench: Bench) -> dict[str, str]:
    """Of the last round of the last message; numbers that go by the clock are `N`."""
    entries = told(bench)["rounds"][-1]["left_out"]
    return {one["downstream"]: re.sub(r"\b[\d.]+(?= s more)", "N", one["why"]) for one in entries}


@contextmanager
def under_way(bench: Bench) -> Iterator[None]:
    """A message that is on its way to `a`."""
    passage = bench.user.targets["a"].begin(bench.clock.now())
    assert passage is not None
    yield
    passage.leave()


async def test_a_trace_says_who_was_offered_what_was_said_and_what_came_of_it(tmp_path: Path) -> None:
    files = {"algorithm.py": EXPLAINING, "silent.py": SILENT}
    bench = Bench(tmp_path, files, script={"a": deferred("450 4.2.1 busy", Stage.RCPT)}, takes_s=0.25)
    await bench.route()
    first = {
        "offered": ["a", "b"],
        "left_out": [],
        "plugins": [
            {"plugin": "./silent.py", "hook": "select_downstream", "answer": None, "notes": []},
            {
                "plugin": "./algorithm.py",
                "hook": "select_downstream",
                "answer": "a",
                "notes": ["2 to choose from"],
            },
            {"plugin": "./silent.py", "hook": "before_send", "answer": None, "notes": []},
            {
                "plugin": "./algorithm.py",
                "hook": "before_send",
                "answer": "changed",
                "notes": ["stamped"],
            },
            {
                "plugin": "./algorithm.py",
                "hook": "after_send",
                "answer": None,
                "notes": ["it was deferred"],
            },
        ],
        "attempt": {
            "downstream": "a",
            "outcome": "deferred",
            "stage": "rcpt",
            "reply": "450 4.2.1 busy",
            "reason": None,
            "seconds": 0.25,
        },
    }
    found = told(bench)
    assert found["rounds"][0] == first
    assert found["rounds"][1]["offered"] == ["b"]
    assert found["rounds"][1]["attempt"]["downstream"] == "b"
    assert found["rounds"][1]["left_out"] == [{"downstream": "a", "why": "tried already"}]
    del found["rounds"]
    message = make_message()
    assert found == {
        "id": message.id,
        "user": message.user,
        "time": "2026-02-03T04:05:06.000+00:00",
        "mail_from": message.mail_from,
        "rcpt_tos": list(message.rcpt_tos),
        "recipients": 1,
        "bytes": message.size,
        "canary": None,
        "reply": f"250 2.0.0 Delivered as {message.id}",
    }


async def test_one_that_rests_is_left_out_with_what_it_began_with(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": Deferred(stage=Stage.TLS, reason="certificate expired")})
    for _ in range(Rules().failures + 1):
        await bench.route()
    why = "rests, for N s more: deferred at tls: certificate expired"
    assert left_out(bench) == {"a": why}


async def test_one_that_asked_for_a_rest_is_left_out_with_its_reply(tmp_path: Path) -> None:
    asked = Deferred(stage=Stage.RCPT, reply=make_reply("451 4.7.1 in 300 s"), rest_s=300)
    bench = Bench(tmp_path, script={"a": asked})
    await bench.route()
    await bench.route()
    assert left_out(bench) == {"a": "rests, for N s more: deferred at rcpt: 451 4.7.1 in 300 s"}
    assert "for 300 s more" in told(bench)["rounds"][0]["left_out"][0]["why"]


async def test_one_that_is_being_tried_again_is_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": unreachable()})
    for _ in range(Rules().failures):
        await bench.route()
    bench.clock.advance(3600)
    with under_way(bench):
        await bench.route()
    why = "is being tried again, and as many messages as may try are at it: deferred at connect: gone"
    assert left_out(bench) == {"a": why}


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"per_hour": 1}, "limit used up: 1 per hour, for N s more"),
        ({"per_second": 5, "per_minute": 1}, "limit used up: 1 per minute, for N s more"),
        ({"per_day": 1}, "limit used up: 1 per day, for N s more"),
    ],
)
async def test_one_without_room_is_left_out_with_the_limit(
    tmp_path: Path, limits: dict[str, int], why: str
) -> None:
    user: Any = user_config()
    user["downstreams"][0]["limits"] = limits
    bench = Bench(tmp_path, books=BooksInMemory())
    bench.write("config.yaml", config_text(user))
    await bench.epochs.reload()
    await bench.route()
    await bench.route()
    assert left_out(bench) == {"a": why}


async def test_one_that_is_busy_is_left_out_with_how_many_it_takes(tmp_path: Path) -> None:
    user: Any = user_config()
    user["downstreams"][0]["limits"] = {"concurrency": 1}
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(user))
    await bench.epochs.reload()
    with under_way(bench):
        await bench.route()
    assert left_out(bench) == {"a": "limit used up: 1 at the same time"}


async def test_of_a_second_copy_the_others_are_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": [in_doubt(), delivered()]})
    await bench.route()
    await bench.route(id="again")
    assert left_out(bench) == {"b": "another one may have the message already, and is tried first"}


async def test_a_second_copy_that_is_not_wanted_there_goes_where_it_is(tmp_path: Path) -> None:
    wanted = "return {one.name: one for one in downstreams}.get('ab'[message.id == 'again'])"
    source = EXPLAINING.replace("return downstreams[0]", wanted)
    bench = Bench(tmp_path, {"algorithm.py": source}, script={"a": in_doubt()})
    await bench.route()
    await bench.route(id="again")
    assert bench.sender.names == ["a", "b"]
    first, second = told(bench)["rounds"]
    assert (first["offered"], first["attempt"]) == (["a"], None)
    assert (second["offered"], second["attempt"]["downstream"]) == (["a", "b"], "b")


async def test_when_nobody_has_room_the_trace_says_so_of_each(tmp_path: Path) -> None:
    user: Any = user_config()
    for downstream in user["downstreams"]:
        downstream["limits"] = {"per_hour": 1}
    bench = Bench(tmp_path)
    bench.write("config.yaml", config_text(user))
    await bench.epochs.reload()
    for _ in range(3):
        await bench.route()
    assert set(left_out(bench)) == {"a", "b"}
    assert told(bench)["rounds"][-1]["offered"] == []
    assert told(bench)["reply"].startswith("451 4.7.1")


@pytest.mark.parametrize(
    ("body", "answer", "reply"),
    [
        ("raise Defer('not now')", "Defer: 451 4.7.0 not now", "451 4.7.0 not now"),
        ("1 / 0", "select_downstream raised ZeroDivisionError", "451 4.3.0 Local error in processing"),
    ],
)
async def test_what_a_plugin_raises_is_its_answer(
    tmp_path: Path, body: str, answer: str, reply: str
) -> None:
    source = EXPLAINING.replace("return downstreams[0]", body)
    bench = Bench(tmp_path, {"algorithm.py": source})
    await bench.route()
    (said,) = told(bench)["rounds"][0]["plugins"]
    assert said["answer"] == answer
    assert said["notes"] == ["2 to choose from"]
    assert told(bench)["reply"] == reply


async def test_notes_are_cut(tmp_path: Path) -> None:
    source = EXPLAINING.replace(
        'note(f"{len(downstreams)} to choose from")', "[note('x' * 1000) for _ in range(1000)]"
    )
    bench = Bench(tmp_path, {"algorithm.py": source})
    await bench.route()
    notes = told(bench)["rounds"][0]["plugins"][0]["notes"]
    assert notes == ["x" * MAX_NOTE_CHARS] * MAX_NOTES


async def test_a_note_outside_of_a_message_is_nobodys() -> None:
    note("nobody listens")


async def test_of_many_recipients_few_are_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.route(rcpt_tos=tuple(f"{number}@b.example" for number in range(1000)))
    assert len(told(bench)["rcpt_tos"]) == MAX_RECIPIENTS
    assert told(bench)["recipients"] == 1000


async def test_a_trace_does_not_keep_the_content(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"algorithm.py": EXPLAINING + "    raise Defer('x')\n"})
    content = b"Subject: x\r\n\r\n" + b"x" * 100 + b"\r\n"
    await bench.route(content=content)
    (trace,) = bench.traces.find("")
    seen: set[int] = set()
    waiting: list[object] = [trace]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType):
            seen.add(id(one))
            waiting += gc.get_referents(one)
    assert id(content) not in seen


async def test_each_trace_is_logged_at_debug_and_only_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    caplog.set_level(logging.INFO)
    await bench.route()
    assert records(caplog, "trace") == []
    caplog.set_level(logging.DEBUG)
    await bench.route()
    assert records(caplog, "trace") == [told(bench)]


async def test_the_last_ones_are_kept_and_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(5):
        await bench.route(id=f"m{number}")
    kept = Traces(2)
    for trace in bench.traces.find("m"):
        kept.add(trace)
    assert [trace.id for trace in kept.find("")] == ["m3", "m4"]
    assert [trace.id for trace in kept.find("m4")] == ["m4"]
    assert kept.find("m1") == ()


async def test_what_plugins_answer_is_kept_once_for_all_traces(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"algorithm.py": EXPLAINING, "silent.py": SILENT}, plugins=["./silent.py"])
    for number in range(2):
        await bench.route(id=f"m{number}")
    first, second = (
        [word for one in trace.rounds for word in one.words if not word[2]]
        for trace in bench.traces.find("m")
    )
    assert len(first) == 4
    assert list(map(id, first)) == list(map(id, second))


def test_answers_that_never_come_again_are_not_kept() -> None:
    answers = Answers(("p", "select_downstream"))
    for number in range(3 * MAX_ANSWERS):
        assert answers[str(number)] == (("p", "select_downstream"), str(number), False)
        assert len(answers) <= MAX_ANSWERS


async def test_so_few_are_found_at_once_that_nobody_waits_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(SHOWN + 3):
        await bench.route(id=f"m{number:02}")
    assert [trace.id for trace in bench.traces.find("")] == [f"m{n:02}" for n in range(3, SHOWN + 3)]
    assert [trace.id for trace in bench.traces.find("m00")] == ["m00"]
