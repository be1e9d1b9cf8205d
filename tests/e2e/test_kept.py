"""Kept connections to downstreams, as clients and downstreams see them through the whole router."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.load import Load
from tests.running import Router, config, downstream, one_user, user
from tests.script import DROP, NORMAL, Action, Plan
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"

Loop = Callable[[], asyncio.AbstractEventLoop]
pytestmark = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def test_nearly_all_messages_of_a_steady_load_go_over_kept_connections(
    loop: Loop, tmp_path: Path
) -> None:
    with Witness() as a, Router(one_user(a), tmp_path, loop_factory=loop) as router:
        with Load(router.client, clients=8) as load:
            load.wait(400)
        load.check(a)
        assert load.codes == {250}
        assert a.connections <= 8 + len(a.deliveries) / 100
        assert a.connections < len(a.deliveries) / 20
    a.wait_for(lambda: a.quits == a.connections)


def test_a_downstream_that_drops_every_connection_now_and_then_costs_no_message(
    loop: Loop, tmp_path: Path
) -> None:
    """It does so between two messages, as servers do that have had enough of a connection."""
    fifth: list[Action] = [NORMAL, NORMAL, NORMAL, NORMAL, DROP]
    script: dict[str, Plan] = {"mail": 100 * fifth}
    with Witness(script) as a, Router(one_user(a), tmp_path, loop_factory=loop) as router:
        with router.client() as client:
            for _ in range(20):
                assert client.transaction(A, [B], HELLO).code == 250
        assert len(a.deliveries) == 20
        assert len(router.log.find("attempt", outcome="delivered")) == 20
        assert not router.log.find("attempt", outcome="deferred")


def test_a_restart_of_the_downstream_is_not_noticed(loop: Loop, tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path, loop_factory=loop) as router:
        with router.client() as client:
            for number in range(5):
                assert client.transaction(A, [B], HELLO).code == 250
                a.stop()
                a.start()
                assert a.connections == number + 1
        assert len(a.deliveries) == 5


def test_users_with_different_logins_share_no_connection(loop: Loop, tmp_path: Path) -> None:
    """Though they send through the same server at the same time."""
    with Witness(auth=("one", "1")) as a, Witness(auth=("two", "2"), name="b") as b:
        one = user(downstream(a))
        wrong = user(downstream(a, user="two", **{"pass": "2"}), email="two@app.example")
        two = user(downstream(b), email="three@app.example")
        settings = config(one, wrong, two)
        with Router(settings, tmp_path, loop_factory=loop) as router:
            for _ in range(3):
                with router.client() as client:
                    assert client.transaction(A, [B], HELLO).code == 250
                with router.client(user="two@app.example") as client:
                    assert client.transaction(A, [B], HELLO).code == 451
                with router.client(user="three@app.example") as client:
                    assert client.transaction(A, [B], HELLO).code == 250
        assert [one.login for one in a.deliveries] == 3 * [b"one"]
        assert len({one.connection for one in a.deliveries}) == 1
        assert len({one.connection for one in b.deliveries}) == 1


def test_users_with_the_same_login_at_the_same_server_share_connections(
    loop: Loop, tmp_path: Path
) -> None:
    with Witness(auth=("one", "1")) as a:
        settings = config(user(downstream(a)), user(downstream(a, name="same"), email="two@app.example"))
        with Router(settings, tmp_path, loop_factory=loop) as router:
            for name in ("app@app.example", "two@app.example"):
                with router.client(user=name) as client:
                    assert client.transaction(A, [B], HELLO).code == 250
        assert a.connections == 1


def test_a_reload_ends_what_was_opened_with_settings_that_are_gone(loop: Loop, tmp_path: Path) -> None:
    with Witness(auth=("one", "1")) as a, Witness(name="b") as b, Witness(name="c") as c:
        script = one_user(a, b)
        with Router(script, tmp_path, loop_factory=loop) as router, router.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
            a.on("mail", DROP)
            assert client.transaction(A, [B], HELLO).code == 250
            assert (a.connections, b.connections) == (2, 1)
            router.configure(one_user(b, c))
            a.wait_for(lambda: a.open_now == 0)
            assert client.transaction(A, [B], HELLO).code == 250
            assert b.connections == 1  # what did not change goes on
            router.configure(one_user(c))
            b.wait_for(lambda: b.quits == 1)
