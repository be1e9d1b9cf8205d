"""A shadow is asked along and sends nothing; a canary chooses for its share."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from smtp_router import ConfigError
from smtp_router.config.load import load
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import build
from smtp_router.routing.trial import MAX_WAITING, Counts, Shadow
from tests.routing.bench import FIRST, Bench, records
from tests.support import config_text, deferred, delivered, user_config

LAST = """\
from smtp_router import hookimpl

SEEN, TOLD = [], []

@hookimpl
{d} select_downstream(message, downstreams, attempts):
    SEEN.append((message.id, [one.name for one in downstreams], len(attempts)))
    {body}

@hookimpl
def before_send(message):
    return message.with_header("X-Candidate", "was here")

@hookimpl
def after_send(attempt):
    TOLD.append((attempt.downstream.name, attempt.outcome.kind))
"""


def candidate(body: str = "return downstreams[-1]", d: str = "def") -> str:
    return LAST.format(body=body, d=d)


def bench(folder: Path, source: str = "", script: Any = None, **user: Any) -> Bench:  # noqa: ANN401
    """A router with a candidate in `candidate.py`."""
    files = {"candidate.py": source or candidate()}
    return Bench(folder, files, script=script, plugins=[], **user)


def shadow_of(made: Bench) -> Shadow:
    assert made.user.shadow is not None
    return made.user.shadow


def globals_of(shadow: Shadow) -> dict[str, Any]:
    function: Any = shadow.plugin.calls[0].function
    found: dict[str, Any] = function.__globals__
    return found


# A shadow.


@pytest.mark.parametrize("d", ["def", "async def"])
async def test_a_shadow_is_asked_and_told_like_the_algorithm_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, d: str
) -> None:
    caplog.set_level("INFO")
    script = {"a": deferred(), "b": delivered()}
    made = bench(tmp_path, candidate(d=d), script, shadow="./candidate.py")
    reply = await made.route()
    await shadow_of(made).done()
    assert reply.code == 250
    assert made.sender.names == ["a", "b"]
    assert "X-Candidate" not in made.sender.sent[0].message.headers
    seen = globals_of(shadow_of(made))
    assert seen["SEEN"] == [("message-1", ["a", "b"], 0), ("message-1", ["b"], 1)]
    assert seen["TOLD"] == [("a", "deferred"), ("b", "delivered")]
    (differs,) = records(caplog, "shadow differs")
    assert differs == {
        "id": "message-1",
        "user": "user@example.com",
        "plugin": "./candidate.py",
        "downstream": "a",
        "shadow": "b",
    }
    assert shadow_of(made).counts.told() == {"asked": 2, "differed": 1, "failed": 0, "left_out": 0}
    (trace,) = made.traces.find("")
    said = [word for one in trace.rounds for word in one.words if word[0][1] == "shadow"]
    assert [(who[0], text) for who, text, _ in said] == [
        ("./candidate.py", "b"),
        ("./candidate.py", "b"),
    ]


async def test_a_shadow_is_told_before_others_who_may_take_their_time(tmp_path: Path) -> None:
    files = {"candidate.py": candidate(), "other.py": candidate()}
    made = Bench(tmp_path, files, plugins=["./other.py"], shadow="./candidate.py")
    assert [call.plugin for call in made.user.chains.after] == ["./candidate.py", "./other.py"]


@pytest.mark.parametrize("d", ["def", "async def"])
async def test_a_shadow_that_fails_is_logged_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, d: str
) -> None:
    made = bench(tmp_path, candidate("1 / 0", d), shadow="./candidate.py")
    assert (await made.route()).code == 250
    await shadow_of(made).done()
    assert shadow_of(made).counts.told() == {"asked": 1, "differed": 0, "failed": 1, "left_out": 0}
    assert records(caplog, "shadow failed")
    assert "ZeroDivisionError" in caplog.text


async def test_a_shadow_that_would_refuse_is_of_another_mind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = "from smtp_router import Reject\n" + candidate("raise Reject('no')")
    made = bench(tmp_path, source, shadow="./candidate.py")
    assert (await made.route()).code == 250
    await shadow_of(made).done()
    (differs,) = records(caplog, "shadow differs")
    assert differs["shadow"] == "Reject: 550 5.7.1 no"


async def test_no_mail_waits_for_a_shadow_and_a_slow_one_is_not_asked_without_end(
    tmp_path: Path,
) -> None:
    source = candidate("await GO.wait()", "async def").replace("@hookimpl\ndef after", "def after")
    source = "import asyncio\nGO = asyncio.Event()\n" + source
    made = bench(tmp_path, source, shadow="./candidate.py")
    for _ in range(MAX_WAITING + 5):
        assert (await made.route()).code == 250
    shadow = shadow_of(made)
    await asyncio.sleep(0)
    assert shadow.counts.left_out == 5
    globals_of(shadow)["GO"].set()
    await shadow.done()
    assert shadow.counts.asked == MAX_WAITING
    await made.route()
    await shadow.done()
    assert shadow.counts.asked == MAX_WAITING + 1


async def test_what_a_shadow_says_late_stands_where_it_was_asked(tmp_path: Path) -> None:
    source = "import asyncio\nGO = asyncio.Event()\n" + candidate(
        "await GO.wait(); return downstreams[-1]", "async def"
    )
    script = {"a": deferred(), "b": delivered()}
    made = bench(tmp_path, source, script, shadow="./candidate.py")
    await made.route()
    globals_of(shadow_of(made))["GO"].set()
    await shadow_of(made).done()
    (trace,) = made.traces.find("")
    said = [[text for who, text, _ in one.words if who[1] == "shadow"] for one in trace.rounds]
    assert said == [["b"], ["b"]]


async def test_a_shadow_keeps_its_counts_until_it_changes(tmp_path: Path) -> None:
    made = bench(tmp_path, shadow="./candidate.py")
    await made.route()
    await shadow_of(made).done()
    made.write("config.yaml", config_text(user_config(shadow="./candidate.py", rate="9/s")))
    await made.epochs.reload()
    assert shadow_of(made).counts.asked == 1
    made.write("candidate.py", candidate("return downstreams[0]"))
    await made.route()
    await shadow_of(made).done()
    assert shadow_of(made).counts.told() == {"asked": 1, "differed": 0, "failed": 0, "left_out": 0}


async def test_what_a_shadow_has_learnt_it_keeps_when_it_becomes_the_algorithm(tmp_path: Path) -> None:
    source = (
        "from smtp_router import hookimpl\nclass Learns:\n def __init__(self): self.n = 0\n"
        " @hookimpl\n def select_downstream(self, downstreams):\n"
        "  self.n += 1\n  return downstreams[self.n > 1]\n"
    )
    made = bench(tmp_path, source, shadow="./candidate.py")
    await made.route()
    await shadow_of(made).done()
    made.write("config.yaml", config_text(algorithm="./candidate.py"))
    await made.epochs.reload()
    await made.route()
    assert made.sender.names == ["a", "b"]


async def test_closing_waits_for_a_shadow(tmp_path: Path) -> None:
    made = bench(tmp_path, candidate(d="async def"), shadow="./candidate.py")
    await made.route()
    await made.epochs.close()
    assert shadow_of(made).counts.asked == 1


# A canary.


async def test_a_canary_chooses_for_its_share_of_the_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = bench(tmp_path, canary={"use": "./candidate.py", "percent": 5})
    made.chances = iter([0.049, 0.05, 0.9])
    for name in ("first", "second", "third"):
        await made.route(id=name)
    assert made.sender.names == ["b", "a", "a"]
    assert [line["canary"] for line in records(caplog, "message")] == ["./candidate.py", None, None]
    assert [trace.told()["canary"] for trace in made.traces.find("")] == ["./candidate.py", None, None]


async def test_a_message_stays_with_the_one_that_chooses_for_it(tmp_path: Path) -> None:
    made = bench(tmp_path, script={"b": deferred()}, canary={"use": "./candidate.py", "percent": 100})
    made.chances = iter([0.0, 1.0, 1.0, 1.0])
    await made.route()
    assert made.sender.names == ["b", "a"]
    assert made.user.canary is not None
    function: Any = made.user.canary.plugin.calls[0].function
    assert [len(one[1]) for one in function.__globals__["SEEN"]] == [2, 1]


async def test_canary_and_algorithm_are_told_of_all_messages_and_change_all(tmp_path: Path) -> None:
    made = bench(tmp_path, canary={"use": "./candidate.py", "percent": 50})
    made.chances = iter([0.0, 0.99])
    await made.route()
    await made.route()
    assert all(sent.message.headers["X-Candidate"] for sent in made.sender.sent)
    assert made.user.canary is not None
    function: Any = made.user.canary.plugin.calls[0].function
    assert len(function.__globals__["TOLD"]) == 2


# What the configuration says.


def problems(folder: Path, **user: Any) -> list[str]:  # noqa: ANN401
    (folder / "algorithm.py").write_text(FIRST)
    (folder / "stamp.py").write_text("from smtp_router import hookimpl\n@hookimpl\ndef close(): ...\n")
    (folder / "config.yaml").write_text(config_text(user_config(**user)))
    try:
        build(load(folder / "config.yaml"), Registry())
    except ConfigError as error:
        return [f"{problem.key}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"shadow": "./nowhere.py"}, "users[0].shadow: ./nowhere.py: cannot be read"),
        ({"shadow": "./stamp.py"}, "users[0].shadow: ./stamp.py: is no algorithm: it has no select_"),
        ({"canary": {"use": "./stamp.py", "percent": 1}}, "users[0].canary: ./stamp.py: is no algori"),
        ({"canary": {"use": "./algorithm.py"}}, "users[0].canary.percent: "),
        ({"canary": {"use": "./algorithm.py", "percent": 0}}, "users[0].canary.percent: "),
        ({"canary": {"use": "./algorithm.py", "percent": 101}}, "users[0].canary.percent: "),
        ({"canary": "./algorithm.py"}, "users[0].canary: "),
        (
            {"canary": {"use": "./algorithm.py", "percent": 1, "options": {"x": 1}}},
            "users[0].canary.options.x: ./algorithm.py: is not an option",
        ),
    ],
)
def test_a_candidate_that_cannot_be_used_is_told_of(
    tmp_path: Path, user: dict[str, object], problem: str
) -> None:
    (found,) = problems(tmp_path, **user)
    assert found.startswith(problem)


def test_counts_begin_at_nothing() -> None:
    assert set(Counts().told().values()) == {0}
