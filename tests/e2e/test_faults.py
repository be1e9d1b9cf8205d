"""What a client hears, and where its message is, when a downstream fails (design, section 4).

The table runs twice: with one downstream on uvloop, with two on the standard library's loop.
"""

import itertools
import time
from pathlib import Path

import pytest
import uvloop

from tests.faults import CASES, Case
from tests.running import Config, Router, downstream, one_user, user
from tests.running import config as several_users
from tests.script import DROP, HANG, NORMAL, Plan
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
LOGIN = ("router", "s3cret-word")

CLEAR = tuple(case for case in CASES if case.where != "starttls")
SESSION = {"banner": (451, "4.4.1"), "ehlo": (451, "4.4.1"), "auth": (451, "4.7.0")}
"""What concerns the router and its downstream is transient for the client, whatever was said."""


def expected(case: Case) -> tuple[int, str]:
    """The client's reply when there is no other downstream."""
    match case.cell:
        case "+":
            return 250, "2.0.0"
        case "?":
            return 451, "4.4.2"
        case "x":
            return 554, "5.3.0"
        case _:
            own = {"4yz": (450, "4.3.0"), "421": (451, "4.3.2")}  # nobody closes our channel but we
            return SESSION.get(case.where) or own.get(case.fault) or (451, "4.4.1")


@pytest.mark.parametrize("case", CLEAR, ids=str)
def test_a_client_hears_what_became_of_its_message(case: Case, tmp_path: Path) -> None:
    with (
        Witness({case.where: case.step}, auth=LOGIN) as a,
        Router(
            one_user(a, timeouts=case.timeouts), tmp_path, loop_factory=uvloop.new_event_loop
        ) as router,
        router.client() as c,
    ):
        reply = c.transaction(A, [B], HELLO)
        assert (reply.code, reply.enhanced) == expected(case)
        assert c.command(b"NOOP").code == 250
        if case.cell != "?":
            assert len(a.deliveries) == (case.cell == "+")
    (attempt,) = router.log.find("attempt")
    (message,) = router.log.find("message")
    assert attempt["stage"] == (case.stage_seen(pipelining=True) if case.cell != "+" else "final")
    assert message["code"] == reply.code
    assert message["id"] == attempt["id"]


@pytest.mark.parametrize("case", CLEAR, ids=str)
def test_the_next_downstream_is_tried_only_if_the_message_is_surely_not_taken(
    case: Case, tmp_path: Path
) -> None:
    with (
        Witness({case.where: case.step}, auth=LOGIN) as a,
        Witness(name="b") as b,
        Router(one_user(a, b, timeouts=case.timeouts), tmp_path) as router,
        router.client() as c,
    ):
        reply = c.transaction(A, [B], HELLO)
    goes_on = case.cell == "-"
    assert (reply.code, reply.enhanced) == ((250, "2.0.0") if goes_on else expected(case))
    assert len(b.deliveries) == goes_on
    assert b.connections == goes_on
    if case.cell != "?":
        assert len(a.deliveries) + len(b.deliveries) == (reply.code == 250)
    assert [entry["downstream"] for entry in router.log.find("attempt")] == ["a", "b"][: 1 + goes_on]


def test_one_reply_names_the_refused_recipient(tmp_path: Path) -> None:
    with Witness({"rcpt:no@b.example": b"550 5.1.1 unknown"}) as a, Witness(name="b") as b:
        with Router(one_user(a, b), tmp_path) as router, router.client() as c:
            reply = c.transaction(A, [B, b"no@b.example", b"c@b.example"], HELLO)
        assert not a.deliveries
        assert not b.connections
    assert (reply.code, reply.lines) == (550, (b"5.1.1 <no@b.example>: unknown",))


def test_recipients_half_deferred_all_go_to_the_next_downstream(tmp_path: Path) -> None:
    names = [f"r{number}@b.example".encode() for number in range(4)]
    script: dict[str, Plan] = {f"rcpt:r{number}@b.example": b"450 4.2.1 busy" for number in (1, 3)}
    with Witness(script) as a, Witness(name="b") as b:
        with Router(one_user(a, b), tmp_path) as router, router.client() as c:
            assert c.transaction(A, names, HELLO).code == 250
        assert not a.deliveries
        assert [delivery.rcpt_tos for delivery in b.deliveries] == [tuple(names)]
    assert b"RSET" in a.commands
    assert b"DATA" not in a.commands


def test_a_dead_downstream_is_passed_over(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b, Witness(name="c") as c:
        a.stop()
        with Router(one_user(a, b, c), tmp_path) as router, router.client() as client:
            for _ in range(3):
                assert client.transaction(A, [B], HELLO).code == 250
            b.stop()
            assert client.transaction(A, [B], HELLO).code == 250
            c.stop()
            reply = client.transaction(A, [B], HELLO)
            assert (reply.code, reply.enhanced) == (451, "4.4.1")
            b.start()
            assert client.transaction(A, [B], HELLO).code == 250
        assert (len(b.deliveries), len(c.deliveries)) == (4, 1)


def test_one_that_hangs_leaves_time_for_the_others(tmp_path: Path) -> None:
    """The deadline is shared among those not yet tried."""
    with Witness({"banner": HANG}) as a, Witness({"mail": HANG}, name="b") as b, Witness(name="c") as c:
        with Router(one_user(a, b, c, deadline_s=1.2), tmp_path) as router, router.client() as client:
            started = time.monotonic()
            assert client.transaction(A, [B], HELLO).code == 250
            assert time.monotonic() - started < 1.2
        assert len(c.deliveries) == 1


def test_a_client_hears_by_the_deadline(tmp_path: Path) -> None:
    with (
        Witness({"banner": HANG}) as a,
        Witness({"final": HANG}, name="b") as b,
        Router(one_user(a, b, deadline_s=0.6), tmp_path) as router,
        router.client() as client,
    ):
        started = time.monotonic()
        reply = client.transaction(A, [B], HELLO)
        assert 0.5 < time.monotonic() - started < 1.2
        assert (reply.code, reply.enhanced) == (451, "4.4.2")


@pytest.mark.parametrize(
    ("failover_on", "script", "code"),
    [
        (["deferred"], {"rcpt": b"550 5.1.1 no"}, 550),
        (["deferred", "rejected"], {"rcpt": b"550 5.1.1 no"}, 250),
        (["deferred", "rejected"], {"final": DROP}, 451),
        (["deferred", "in_doubt"], {"final": DROP}, 250),
        (["rejected"], {"rcpt": b"450 4.2.1 busy"}, 450),
    ],
)
def test_a_user_may_widen_what_fails_over(
    failover_on: list[str], script: dict[str, Plan], code: int, tmp_path: Path
) -> None:
    with Witness(script) as a, Witness(name="b") as b:
        settings = several_users(user(a, b, failover_on=failover_on))
        with Router(settings, tmp_path) as router, router.client() as c:
            assert c.transaction(A, [B], HELLO).code == code
        assert len(b.deliveries) == (code == 250)


@pytest.mark.parametrize("reply", [b"550-5.7.1 one\r\n550 5.7.1 two", b"550 \xff\xfe\x07" + 600 * b"x"])
def test_a_downstreams_words_arrive_as_one_printable_line(reply: bytes, tmp_path: Path) -> None:
    with Witness({"final": reply}) as a, Router(one_user(a), tmp_path) as router, router.client() as c:
        heard = c.transaction(A, [B], HELLO)  # which takes well-formed replies only
    assert heard.code == 550
    assert len(heard.lines) == 1


def test_a_downstreams_failed_login_tells_the_client_nothing_of_it(tmp_path: Path) -> None:
    text = b"535 5.7.8 user router with s3cret-word is locked"
    with (
        Witness({"auth": text}, auth=LOGIN) as a,
        Router(one_user(a), tmp_path) as router,
        router.client() as c,
    ):
        reply = c.transaction(A, [B], HELLO)
    assert (reply.code, reply.enhanced) == (451, "4.7.0")
    assert b"locked" not in reply.lines[0]
    assert b"router" not in reply.lines[0].replace(b"the router's", b"")


BAD_PLUGINS = {
    "raises": "raise RuntimeError('secret detail')",
    "exits": "raise SystemExit('secret detail')",
    "interrupts": "raise KeyboardInterrupt('secret detail')",
    "returns what was not offered": "return 'secret detail'",
    "splits the reply": "from smtp_router import Reject; raise Reject('one\\r\\n250 2.0.0 two')",
    "has no opinion": "return None",
    "defers": "from smtp_router import Defer; raise Defer('not now')",
}
REPLIES = {
    "splits the reply": (550, "5.7.1"),
    "has no opinion": (451, "4.4.1"),
    "defers": (451, "4.7.0"),
}


@pytest.mark.parametrize("what", BAD_PLUGINS)
def test_a_plugin_that_fails_costs_one_message_no_session(what: str, tmp_path: Path) -> None:
    algorithm = tmp_path / "algorithm.py"
    head = (
        "from smtp_router import hookimpl\n\n@hookimpl\ndef select_downstream(message, downstreams):\n"
    )
    good = "    return downstreams[0]\n"
    algorithm.write_text(
        f"{head}    if message.headers['Subject'] == 'bad':\n        {BAD_PLUGINS[what]}\n{good}"
    )
    with Witness() as a, Router(one_user(a) | {"users": [_by_file(a)]}, tmp_path) as router:
        with router.client() as c:
            for _ in range(2):
                reply = c.transaction(A, [B], b"Subject: bad\r\n\r\n")
                assert (reply.code, reply.enhanced) == REPLIES.get(what, (451, "4.3.0"))
                assert b"secret" not in reply.lines[0]
                assert c.transaction(A, [B], HELLO).code == 250
        assert len(a.deliveries) == 2
        if what not in REPLIES:
            assert len(router.log.find("plugin failed", plugin="./algorithm.py", level="error")) == 2


def _by_file(*witnesses: Witness) -> Config:
    return user(*map(downstream, witnesses), algorithm="./algorithm.py")


def test_many_messages_in_one_session_each_end_as_they_should(tmp_path: Path) -> None:
    """One connection, all outcomes one after the other: nothing of one shows in the next."""
    cases = [case for case in CLEAR if case.cell != "?" and not case.timeouts]
    once = {"max_messages_per_connection": 1}
    with (
        Witness(auth=LOGIN) as a,
        Router(one_user(downstream(a, pool=once)), tmp_path) as router,
        router.client() as c,
    ):
        for number, case in enumerate(itertools.chain(cases, reversed(cases))):
            a.on(case.where, case.step)
            body = b"Subject: %d\r\n\r\n" % number
            before = len(a.deliveries)
            reply = c.transaction(A, [B], body)
            a.on(case.where, NORMAL)
            assert (reply.code, reply.enhanced) == expected(case), case
            if case.cell == "+":
                assert a.deliveries[-1].body_below_received == body
            assert len(a.deliveries) - before == (case.cell == "+")
