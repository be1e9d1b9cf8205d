"""One message's way: who is asked, who is tried, who is told, and what the client hears."""

import asyncio
import logging
from collections import Counter
from pathlib import Path

import pytest

from smtp_router import Outcome, Reply
from smtp_router.core.decision import CLOCK_TOLERANCE_S, IN_DOUBT, OUR_FAULT, TOO_LATE, UNREACHABLE
from smtp_router.routing.router import UNKNOWN_USER
from tests.routing.bench import FIRST, Bench, failures, records
from tests.support import (
    CONTENT,
    PASSWORD,
    USER,
    Sent,
    Step,
    config_text,
    deferred,
    delivered,
    in_doubt,
    make_message,
    make_reply,
    rejected,
    unreachable,
    user_config,
)

ROUND_ROBIN = Path(__file__).parents[2] / "plugins/round_robin/smtp_router_round_robin/__init__.py"

NOTING = """\
from smtp_router import hookimpl

SEEN = []

@hookimpl
def select_downstream(message, downstreams, attempts):
    SEEN.append((message, downstreams, attempts))
    return downstreams[0]
"""

TOLD = """\
from smtp_router import hookimpl

SEEN = []

@hookimpl
def after_send(message, attempt):
    SEEN.append((message, attempt))
"""

STAMP = """\
from smtp_router import hookimpl

@hookimpl
def before_send(message, downstream):
    return message.with_header("X-Downstream", downstream.name)
"""

NOBODY = "from smtp_router import hookimpl\n\n@hookimpl\ndef select_downstream(): ...\n"

THREE = {name: f"{name}.example:25" for name in "abc"}


def raising(hook: str, what: str) -> str:
    return f"""\
        from smtp_router import Defer, PluginError, Reject, hookimpl

        @hookimpl
        def {hook}():
            raise {what}
        """


# Delivery.


async def test_250_names_the_routers_id_and_nothing_of_the_downstreams_words(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={"a": delivered("250 2.6.0 <internal@host> queued as 5F")})
    assert await bench.route(id="abc123") == make_reply("250 2.0.0 Delivered as abc123")
    assert bench.sender.names == ["a"]


async def test_what_is_sent_is_what_came(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    message = make_message(content=b"odd\n\r\0 content")
    await bench.router.route(message)
    (sent,) = bench.sender.sent
    assert sent.message is message
    assert sent.settings is bench.epochs.current.settings
    assert str(sent.downstream.addr).startswith("a.example:")


async def test_a_user_who_is_gone_is_told_to_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(tmp_path)
    assert await bench.route(user="gone@example.com") == UNKNOWN_USER
    assert UNKNOWN_USER.is_transient
    assert bench.sender.sent == []
    assert records(caplog, "message")[0]["outcome"] == "deferred"


# Asking.


async def test_plugins_are_asked_before_each_attempt_with_what_was_tried(tmp_path: Path) -> None:
    script: dict[str, Step] = {"a": deferred("450 4.2.1 busy"), "b": unreachable()}
    bench = Bench(tmp_path, {"algorithm.py": NOTING}, script=script, downstreams=THREE)
    message = make_message()
    assert (await bench.router.route(message)).code == 250
    asked = bench.seen("algorithm.py")
    assert [call[0] for call in asked] == [message] * 3
    assert [[one.name for one in call[1]] for call in asked] == [["a", "b", "c"], ["b", "c"], ["c"]]
    assert [[str(one.outcome) for one in call[2]] for call in asked] == [
        [],
        ["deferred at rcpt: 450 4.2.1 busy"],
        ["deferred at rcpt: 450 4.2.1 busy", "deferred at connect: gone"],
    ]
    assert bench.sender.names == ["a", "b", "c"]


async def test_history_is_not_shared_with_plugins_to_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"algorithm.py": NOTING}, script={"a": deferred()})
    await bench.route()
    assert all(isinstance(part, tuple) for call in bench.seen("algorithm.py") for part in call[1:])


async def test_plugins_are_asked_in_order_and_the_algorithm_last(tmp_path: Path) -> None:
    noting = """\
        from smtp_router import hookimpl

        @hookimpl
        def select_downstream(downstreams):
            ORDER.append(__file__.rpartition("/")[2])
            return {}
        """
    names = ("two.py", "one.py", "algorithm.py")
    files = dict.fromkeys(names, noting.format(None))
    files["algorithm.py"] = noting.format("downstreams[0]")
    bench = Bench(tmp_path, files)
    order: list[str] = []
    for name in names:
        bench.globals_of(name)["ORDER"] = order
    await bench.route()
    assert order == ["two.py", "one.py", "algorithm.py"]


async def test_a_plugin_overrules_the_algorithm(tmp_path: Path) -> None:
    last = FIRST.replace("downstreams[0]", "downstreams[-1]")
    bench = Bench(tmp_path, {"override.py": last}, downstreams=THREE)
    await bench.route()
    assert bench.sender.names == ["c"]


async def test_each_user_has_plugins_and_downstreams_of_their_own(tmp_path: Path) -> None:
    other = user_config(email="other", algorithm="./other.py", downstreams={"a": "x.example:1"})
    bench = Bench(tmp_path)
    bench.write("other.py", FIRST)
    bench.write("config.yaml", config_text(user_config(), other))
    await bench.epochs.reload()
    await bench.route(user="other")
    await bench.route(user=USER)
    assert [str(sent.downstream.addr).split(":")[0] for sent in bench.sender.sent] == [
        "x.example",
        "a.example",
    ]


async def test_no_opinion_is_no_downstream(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"algorithm.py": NOBODY})
    assert await bench.route() == UNREACHABLE
    assert bench.sender.sent == []


async def test_no_opinion_after_an_attempt_is_the_last_transient_reply(tmp_path: Path) -> None:
    once = FIRST.replace("(downstreams)", "(downstreams, attempts)").replace(
        "return downstreams[0]", "return None if attempts else downstreams[0]"
    )
    bench = Bench(tmp_path, {"algorithm.py": once}, script={"a": deferred("452 4.3.1 full")})
    assert await bench.route() == make_reply("452 4.3.1 full")
    assert bench.sender.names == ["a"]


async def test_plugins_see_how_downstreams_fare_but_no_credential(tmp_path: Path) -> None:
    login = {"addr": "a.example:25", "user": "apikey", "pass": "s3cret", "options": {"weight": 3}}
    script: dict[str, Step | list[Step]] = {"a": [delivered(), unreachable(), delivered()]}
    bench = Bench(
        tmp_path,
        {"algorithm.py": NOTING},
        script=script,
        downstreams={"a": login, "b": "b.example:25"},
    )
    for _ in range(3):
        await bench.route()
    asked = bench.seen("algorithm.py")
    health = [call[1][0].health for call in asked if call[1][0].name == "a"]
    assert [(one.delivered, one.failed, one.consecutive_failures) for one in health] == [
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 1),
    ]
    first = asked[0][1][0]
    assert (first.name, first.host, first.port, dict(first.options)) == (
        "a",
        "a.example",
        25,
        {"weight": 3},
    )
    assert "s3cret" not in repr(asked)
    assert "apikey" not in repr(asked)


# What follows from outcomes.


@pytest.mark.parametrize(
    ("script", "failover_on", "tried", "reply"),
    [
        ({"a": deferred()}, ["deferred"], "ab", "250 2.0.0 Delivered as message-1"),
        ({"a": unreachable()}, ["deferred"], "ab", "250 2.0.0 Delivered as message-1"),
        ({"a": rejected("550 5.1.1 no")}, ["deferred"], "a", "550 5.1.1 no"),
        ({"a": in_doubt()}, ["deferred"], "a", str(IN_DOUBT)),
        ({"a": deferred("450 4.2.1 x")}, [], "a", "450 4.2.1 x"),
        ({"a": rejected()}, ["rejected"], "ab", "250 2.0.0 Delivered as message-1"),
        ({"a": in_doubt()}, ["in_doubt"], "ab", "250 2.0.0 Delivered as message-1"),
        (
            {name: deferred(f"450 4.2.1 {name}") for name in "abc"},
            ["deferred"],
            "abc",
            "450 4.2.1 c",
        ),
        (
            {"a": deferred("450 4.2.1 a"), "b": rejected("550 5.1.1 b")},
            ["deferred"],
            "ab",
            "550 5.1.1 b",
        ),
        (
            {name: rejected(f"550 5.1.1 {name}") for name in "abc"},
            ["rejected"],
            "abc",
            "550 5.1.1 c",
        ),
        ({"a": in_doubt(), "b": rejected()}, ["in_doubt"], "ab", str(IN_DOUBT)),
    ],
)
async def test_outcomes_lead_on_or_back_to_the_client(
    tmp_path: Path, script: dict[str, Step], failover_on: list[str], tried: str, reply: str
) -> None:
    bench = Bench(tmp_path, script=script, downstreams=THREE, failover_on=failover_on)
    assert str(await bench.route()) == reply
    assert "".join(bench.sender.names) == tried


async def test_each_downstream_is_tried_at_most_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script={name: unreachable() for name in "abc"}, downstreams=THREE)
    assert await bench.route() == UNREACHABLE
    assert bench.sender.names == ["a", "b", "c"]


# before_send.


async def test_a_change_counts_for_this_attempt_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"stamp.py": STAMP, "told.py": TOLD}, script={"a": deferred()})
    message = make_message()
    await bench.router.route(message)
    assert [sent.message.content for sent in bench.sender.sent] == [
        b"X-Downstream: a\r\n" + CONTENT,
        b"X-Downstream: b\r\n" + CONTENT,
    ]
    assert [told[0] for told in bench.seen("told.py")] == [message, message]


async def test_changes_go_on_from_plugin_to_plugin_in_order(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        {"one.py": STAMP.replace("Downstream", "One"), "two.py": STAMP.replace("Downstream", "Two")},
    )
    await bench.route()
    assert bench.sender.sent[0].message.content == b"X-Two: a\r\nX-One: a\r\n" + CONTENT


@pytest.mark.parametrize(
    "change",
    ["mail_from='a b'", "rcpt_tos=('x@y\\r\\nDATA',)", "rcpt_tos=()", "content='text'"],
)
async def test_a_malformed_change_is_not_sent(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = STAMP.replace('with_header("X-Downstream", downstream.name)', f"replace({change})")
    bench = Bench(tmp_path, {"broken.py": source})
    assert await bench.route() == OUR_FAULT
    assert bench.sender.sent == []
    assert records(caplog, "plugin failed") == [{"id": "message-1", "plugin": "./broken.py"}]


# after_send.


async def test_all_are_told_of_each_attempt_before_the_client_is_answered(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        {"one.py": TOLD, "two.py": TOLD, "algorithm.py": FIRST + TOLD.partition("\n")[2]},
        script={"a": deferred("450 4.2.1 busy")},
        takes_s={"a": 2.5, "b": 0.5},
    )
    await bench.route()
    for name in ("one.py", "two.py", "algorithm.py"):
        attempts = [told[1] for told in bench.seen(name)]
        assert [(one.downstream.name, str(one.outcome), one.seconds) for one in attempts] == [
            ("a", "deferred at rcpt: 450 4.2.1 busy", 2.5),
            ("b", "delivered at final: 250 2.0.0 queued", 0.5),
        ]


@pytest.mark.parametrize("what", ["RuntimeError('secret')", "SystemExit(1)", "Reject('no')"])
async def test_whoever_fails_when_told_changes_nothing(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, {"bad.py": raising("after_send", what), "told.py": TOLD})
    assert (await bench.route()).code == 250
    assert len(bench.seen("told.py")) == 1
    assert records(caplog, "plugin failed") == [
        {"id": "message-1", "plugin": "./bad.py", "hook": "after_send"}
    ]


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


# Time.


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


# Clients that go away.


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


# Logs.


async def test_one_line_is_logged_for_each_attempt_and_one_for_the_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stamp = STAMP.replace('with_header("X-Downstream", downstream.name)', "replace(mail_from='')")
    bench = Bench(
        tmp_path,
        {"stamp.py": stamp},
        script={"a": deferred("450 4.2.1 busy"), "b": delivered("250 2.0.0 ok")},
        takes_s=1.25,
    )
    await bench.route(rcpt_tos=("x@b.example", "y@b.example"))
    common = {"id": "message-1", "user": USER, "recipients": 2, "bytes": len(CONTENT)}
    assert records(caplog, "attempt") == [
        {
            **common,
            "mail_from": "",
            "downstream": "a",
            "stage": "rcpt",
            "outcome": "deferred",
            "code": 450,
            "seconds": 1.25,
            "reply": "450 4.2.1 busy",
            "reason": None,
        },
        {
            **common,
            "mail_from": "",
            "downstream": "b",
            "stage": "final",
            "outcome": "delivered",
            "code": 250,
            "seconds": 1.25,
            "reply": "250 2.0.0 ok",
            "reason": None,
        },
    ]
    assert records(caplog, "message") == [
        {
            **common,
            "mail_from": "sender@a.example",
            "downstream": "b",
            "stage": "final",
            "outcome": "delivered",
            "code": 250,
            "seconds": 2.5,
            "attempts": 2,
            "reply": "250 2.0.0 Delivered as message-1",
            "canary": None,
        }
    ]
    levels = [record.levelname for record in caplog.records if record.getMessage() == "attempt"]
    assert levels == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({}, "delivered"),
        ({"a": in_doubt()}, "in_doubt"),
        ({"a": rejected()}, "rejected"),
        ({"a": unreachable(), "b": unreachable()}, "deferred"),
        ({"a": RuntimeError()}, "deferred"),
    ],
    ids=["delivered", "in doubt", "rejected", "deferred", "fault"],
)
async def test_the_last_line_says_what_became_of_the_message(
    tmp_path: Path, script: dict[str, Step], outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await Bench(tmp_path, script=script).route()
    assert [one["outcome"] for one in records(caplog, "message")] == [outcome]


async def test_neither_content_nor_secrets_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = {"addr": "a.example:25", "user": "apikey", "pass": "s3cret"}
    bench = Bench(
        tmp_path,
        {"bad.py": raising("after_send", "ValueError")},
        script={"a": deferred()},
        downstreams={"a": login, "b": login},
    )
    await bench.route(content=b"Subject: private\r\n\r\nprivate\r\n")
    shown = caplog.text + repr([vars(record) for record in caplog.records])
    for secret in ("private", "s3cret", PASSWORD):
        assert secret not in shown


# Many at once.


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
