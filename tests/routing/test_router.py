"""One message's way: who is asked, who is tried, who is told, and what the client hears."""

import logging
from pathlib import Path

import pytest

from smtp_router.core.decision import IN_DOUBT, OUR_FAULT, UNREACHABLE
from smtp_router.routing.router import UNKNOWN_USER
from tests.routing.bench import FIRST, THREE, Bench, records
from tests.routing.plugins import STAMP, TOLD, raising
from tests.support import (
    CONTENT,
    USER,
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

NOTING = """\
from smtp_router import hookimpl

SEEN = []

@hookimpl
def select_downstream(message, downstreams, attempts):
    SEEN.append((message, downstreams, attempts))
    return downstreams[0]
"""

NOBODY = "from smtp_router import hookimpl\n\n@hookimpl\ndef select_downstream(): ...\n"


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
