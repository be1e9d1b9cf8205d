"""Messages that come a second time: in doubt, they go the same way; delivered and unheard, nowhere."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.e2e.test_disconnect import LEAVE, SESSION, Gate, submit
from tests.e2e.test_faults import HELLO, A, B
from tests.rawclient import RawReply
from tests.running import PASSWORD, Router, Serve, one_user, user
from tests.running import config as settings
from tests.script import DROP, HANG, NORMAL, RESET, Act, Step
from tests.witness import Witness

NEWSLETTER = b"Message-ID: <1@a.example>\r\nSubject: hello\r\n\r\n.hello\r\n"
ANY = "from smtp_router import hookimpl\n\n@hookimpl\ndef select_downstream(downstreams):\n"
OTHER = "other@app.example"


def send(router: Router | Serve, content: bytes = HELLO, *, who: str | None = None) -> RawReply:
    with router.client(who) if who else router.client() as client:
        return client.transaction(A, [B], content)


def go_unheard(router: Router | Serve, a: Witness, content: bytes = HELLO) -> str:
    """Deliver a message whose client is gone before it hears of it; its id."""
    gate = Gate()
    a.on("final", [gate, NORMAL])
    times = len(router.log.find("client gone before the reply")) + 1
    with router.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(content + b".\r\n")
        assert gate.reached.wait(10)
    send_noop(router)
    gate.opened.set()
    return str(router.log.wait("client gone before the reply", times=times)["id"])


def send_noop(router: Router | Serve) -> None:
    """By the time this is answered the router has seen whoever left before."""
    with router.client() as client:
        assert client.command(b"NOOP").code == 250


# In doubt


@pytest.mark.parametrize("act", [DROP, RESET])
def test_a_message_in_doubt_goes_to_the_same_downstream_when_it_comes_again(
    act: Act, tmp_path: Path
) -> None:
    (tmp_path / "last.py").write_text(f"{ANY}    return downstreams[-1]\n")
    with (
        Witness(name="a") as a,
        Witness({"final": [act, NORMAL]}, name="b") as b,
        Router(settings(user(a, b, algorithm="./last.py")), tmp_path) as router,
    ):
        reply = send(router, NEWSLETTER)
        assert (reply.code, reply.enhanced) == (451, "4.4.2")
        first = router.log.wait("in doubt")
        (tmp_path / "last.py").write_text(f"{ANY}    return downstreams[0]\n")
        assert send(router, NEWSLETTER).code == 250
        again = router.log.wait("may be a second copy")
        assert not a.connections
        assert [one.body_below_received for one in b.deliveries] == [NEWSLETTER]
        assert send(router, NEWSLETTER).code == 250  # what was known of it is over
        assert len(a.deliveries) == 1
    assert len(router.log.find("may be a second copy")) == 1
    fields = {"message_id": "<1@a.example>", "downstream": "b", "mail_from": A.decode(), "code": 451}
    assert fields.items() <= first.items()
    assert (first["rcpt_tos"], first["count"]) == (B.decode(), 1)
    assert (again["first"], again["fingerprint"]) == (first["id"], first["fingerprint"])


def test_a_downstream_that_is_in_doubt_and_cannot_be_reached_is_passed_over(tmp_path: Path) -> None:
    with (
        Witness({"final": DROP}) as a,
        Witness(name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
    ):
        assert send(router).code == 451
        a.stop()
        assert send(router).code == 250
        assert len(b.deliveries) == 1
    assert [one["downstream"] for one in router.log.find("attempt")] == ["a", "a", "b"]


def test_a_downstream_that_was_taken_out_is_not_preferred(tmp_path: Path) -> None:
    with (
        Witness({"final": DROP}) as a,
        Witness(name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
    ):
        assert send(router).code == 451
        router.configure(one_user(b))
        router.log.wait("reloaded")
        assert send(router).code == 250
        assert len(b.deliveries) == 1
    router.log.wait("may be a second copy")


def test_an_algorithm_may_refuse_the_preferred_downstream(tmp_path: Path) -> None:
    wanted = "next((one for one in downstreams if one.name == 'a'), None)"
    (tmp_path / "picky.py").write_text(f"{ANY}    return {wanted}\n")
    with (
        Witness({"final": DROP}) as a,
        Witness(name="b") as b,
        Router(settings(user(a, b, algorithm="./picky.py")), tmp_path) as router,
    ):
        assert send(router).code == 451
        (tmp_path / "picky.py").write_text(f"{ANY}    return {wanted}\n".replace("'a'", "'b'"))
        assert send(router).code == 250
        assert len(b.deliveries) == 1


def test_in_doubt_is_remembered_over_a_kill(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(f"{ANY}    return downstreams[-1]\n")
    with Witness(name="a") as a, Witness({"final": [DROP, NORMAL]}, name="b") as b:
        configuration = settings(user(a, b, algorithm="./last.py"))
        with Serve(configuration, tmp_path) as router:
            assert send(router).code == 451
            router.log.wait("in doubt")
            wait_until_written(router)
            kill(router)
        (tmp_path / "last.py").write_text(f"{ANY}    return downstreams[0]\n")
        with Serve(configuration, tmp_path) as router:
            assert send(router).code == 250
            router.log.wait("may be a second copy")
        assert not a.deliveries
        assert [one.mail_from for one in b.deliveries] == [b"z@a.example", A]


def test_what_is_cut_off_when_the_router_stops_is_in_doubt_after_it(tmp_path: Path) -> None:
    with Witness({"final": [HANG, NORMAL]}) as a:
        with Router(one_user(a, drain_s=0.2), tmp_path) as router, router.client() as client:
            submit(client)
            a.wait_for(lambda: a.hanging)
            router.stop()
            assert client.at_eof()
            router.ended()
            first = router.log.wait("in doubt")
            assert first["code"] is None or first["code"] == 451
        with Router(one_user(a), tmp_path) as router:
            assert send(router).code == 250
            assert router.log.wait("may be a second copy")["first"] == first["id"]


def test_one_that_is_in_doubt_again_is_remembered_again(tmp_path: Path) -> None:
    with Witness({"final": [DROP, DROP, NORMAL]}) as a, Router(one_user(a), tmp_path) as router:
        assert [send(router).code for _ in range(3)] == [451, 451, 250]
        assert [one["count"] for one in router.log.find("in doubt")] == [1, 2]
        copies = router.log.find("may be a second copy")
        assert [one["first"] for one in copies] == [one["id"] for one in router.log.find("in doubt")]


@pytest.mark.parametrize(
    ("in_doubt", "codes", "copies"),
    [("defer", [451, 250], (0, 1)), ("accept", [250], (0, 0)), ("failover", [250], (0, 1))],
)
def test_what_follows_is_for_the_user_to_say(
    in_doubt: str, codes: list[int], copies: tuple[int, int], tmp_path: Path
) -> None:
    with Witness({"final": DROP}) as a, Witness(name="b") as b:
        configuration = settings(user(a, b, in_doubt=in_doubt))
        with Router(configuration, tmp_path) as router:
            assert send(router).code == codes[0]
            line = router.log.wait("in doubt")
            assert (line["downstream"], line["code"]) == ("a", codes[0])
            if len(codes) > 1:
                a.stop()
                assert send(router).code == codes[1]
                router.log.wait("may be a second copy")
            else:  # the client is content, so the next such message is another one
                a.on("final", NORMAL)
                assert send(router).code == 250
                assert not router.log.find("may be a second copy")
                assert len(a.deliveries) == 1
            message = router.log.find("message")[0]
            assert message["outcome"] == ("delivered" if in_doubt == "failover" else "in_doubt")
        assert (0, len(b.deliveries)) == copies


# Delivered, and not heard


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_delivery_that_was_not_heard_of_is_not_made_again(
    leave: str, loop: str, tmp_path: Path
) -> None:
    gate = Gate()
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with (
        Witness({"final": [gate, NORMAL]}) as a,
        Router(one_user(a), tmp_path, loop_factory=factory) as router,
    ):
        with router.client() as client:
            submit(client)
            assert gate.reached.wait(10)
            LEAVE[leave](client)
            send_noop(router)
            gate.opened.set()
            first = router.log.wait("client gone before the reply")["id"]
        reply = send(router)
        assert (reply.code, reply.lines) == (250, (f"2.0.0 Delivered already as {first}".encode(),))
        assert len(a.deliveries) == 1
        line = router.log.wait("already delivered")
        assert (line["first"], line["count"]) == (first, 1)
        assert router.log.wait("message", times=2)["outcome"] == "duplicate"
        # It was heard now, so the next one is another message.
        assert send(router).lines[0].startswith(b"2.0.0 Delivered as ")
        assert len(a.deliveries) == 2


def test_it_waits_while_the_first_one_is_still_on_its_way(tmp_path: Path) -> None:
    """A client that waits for less time than a downstream takes comes again meanwhile."""
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as a, Router(one_user(a), tmp_path) as router:
        with router.client() as client:
            submit(client)
            assert gate.reached.wait(10)
        send_noop(router)
        with router.client() as again, router.client() as other:
            submit(again)
            assert other.transaction(A, [B], HELLO.replace(b"hello", b"world")).code == 250
            assert len(a.deliveries) == 1  # that one
            gate.opened.set()
            assert again.reply().lines[0].startswith(b"2.0.0 Delivered already as ")
        assert len(a.deliveries) == 2


@pytest.mark.parametrize(
    ("step", "code", "copies"), [(b"451 4.3.0 later", 250, 1), (b"554 5.3.0 no", 250, 1), (DROP, 250, 1)]
)
def test_if_the_first_one_is_not_delivered_the_second_one_is(
    step: Step, code: int, copies: int, tmp_path: Path
) -> None:
    gate = Gate(step)
    with Witness({"final": [gate, NORMAL]}) as a, Router(one_user(a), tmp_path) as router:
        with router.client() as client:
            submit(client)
            assert gate.reached.wait(10)
        send_noop(router)
        with router.client() as again:
            submit(again)
            send_noop(router)
            gate.opened.set()
            assert again.reply().code == code
        assert len(a.deliveries) == copies
        assert len(router.log.find("may be a second copy")) == (step is DROP)


def test_switched_off_nobody_waits(tmp_path: Path) -> None:
    gate = Gate()
    with (
        Witness({"final": [gate, NORMAL]}) as a,
        Router(one_user(a, duplicate_damping=False), tmp_path) as router,
    ):
        with router.client() as client:
            submit(client)
            assert gate.reached.wait(10)
        send_noop(router)
        assert send(router).code == 250
        gate.opened.set()
        router.log.wait("client gone before the reply")
        assert len(a.deliveries) == 2


def test_whoever_waits_hears_by_the_deadline(tmp_path: Path) -> None:
    with Witness({"final": HANG}) as a, Router(one_user(a, deadline_s=20), tmp_path) as router:
        with router.client() as client:
            submit(client)
            a.wait_for(lambda: a.hanging)
        send_noop(router)
        router.configure(one_user(a, deadline_s=0.2))
        router.log.wait("reloaded")
        reply = send(router)
        assert (reply.code, reply.enhanced) == (451, "4.4.2")
        a.release()


def test_a_delivery_that_was_not_heard_of_is_remembered_over_a_kill(tmp_path: Path) -> None:
    with Witness() as a:
        with Serve(one_user(a), tmp_path) as router:
            first = go_unheard(router, a)
            wait_until_written(router)
            kill(router)
        with Serve(one_user(a), tmp_path) as router:
            assert send(router).lines == (f"2.0.0 Delivered already as {first}".encode(),)
            assert [one.mail_from for one in a.deliveries] == [A, b"z@a.example"]
            kill(router)  # what was answered is struck off before the answer goes out
        with Serve(one_user(a), tmp_path) as router:
            assert send(router).code == 250
        assert [one.mail_from for one in a.deliveries] == [A, b"z@a.example", A]


def test_one_that_is_not_heard_of_twice_is_remembered_again(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        first = go_unheard(router, a)
        wait_until_written(router)
        with router.connect() as client, router.held():
            client.send(SESSION)
            client.shutdown_write()
        second = router.log.wait("client gone before the reply", times=2)
        assert second["reply"] == f"250 2.0.0 Delivered already as {first}"
        assert send(router).lines == (f"2.0.0 Delivered already as {second['id']}".encode(),)
        assert [one.mail_from for one in a.deliveries] == [A, b"z@a.example"]
    assert [one["count"] for one in router.log.find("already delivered")] == [1, 2]


Change = Callable[[Router], RawReply]
ANOTHER: dict[str, Change] = {
    "login": lambda router: send(router, who=OTHER),
    "content": lambda router: send(router, HELLO.replace(b"hello", b"hallo")),
    "sender": lambda router: _send_by(router, b"b@a.example", [B]),
    "recipient": lambda router: _send_by(router, A, [b"c@b.example"]),
    "one more recipient": lambda router: _send_by(router, A, [B, b"c@b.example"]),
    "parameter": lambda router: _send_by(router, A, [B], params=b"BODY=8BITMIME"),
}


def _send_by(
    router: Router | Serve, sender: bytes, recipients: list[bytes], *, params: bytes = b""
) -> RawReply:
    with router.client() as client:
        return client.transaction(sender, recipients, HELLO, params=params)


@pytest.mark.parametrize("what", ANOTHER)
def test_another_message_is_delivered(what: str, tmp_path: Path) -> None:
    with Witness() as a:
        configuration = settings(user(a), user(a, email=OTHER, password=PASSWORD))
        with Router(configuration, tmp_path) as router:
            go_unheard(router, a)
            assert ANOTHER[what](router).lines[0].startswith(b"2.0.0 Delivered as ")
            assert len(a.deliveries) == 2
            assert send(router).lines[0].startswith(b"2.0.0 Delivered already as ")


def test_what_was_heard_of_is_delivered_as_often_as_it_comes(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        with router.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
            client.reset()  # it has heard
        assert [send(router).code for _ in range(3)] == [250] * 3
        assert len(a.deliveries) == 4
    assert not router.log.find("already delivered")


@pytest.mark.parametrize("more", [{"duplicate_damping": False}, {"in_doubt_s": 0.001}], ids=str)
def test_it_is_delivered_again_if_that_is_switched_off_or_over(
    more: dict[str, Any], tmp_path: Path
) -> None:
    with Witness() as a, Router(one_user(a, **more), tmp_path) as router:
        go_unheard(router, a)
        send_noop(router)
        assert send(router).lines[0].startswith(b"2.0.0 Delivered as ")
        assert len(a.deliveries) == 2


def test_switched_off_by_a_reload_it_is_delivered_again_and_forgotten(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        first = go_unheard(router, a)
        for times, more in enumerate(({"duplicate_damping": False}, {}), 1):
            router.configure(one_user(a, **more))
            router.log.wait("reloaded", times=times)
            assert send(router).lines[0].startswith(b"2.0.0 Delivered as ")
        assert len(a.deliveries) == 3
    assert [one["first"] for one in router.log.find("may be a second copy")] == [first]


def test_a_state_file_that_cannot_be_used_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "smtp-router.db").mkdir()
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        for _ in range(2):
            go_unheard(router, a)
            assert send(router).lines[0].startswith(b"2.0.0 Delivered already as ")
        assert len(a.deliveries) == 2
    event = "state file cannot be used, what is in doubt is kept in memory"
    assert {one["problem"] for one in router.log.find(event)} == {
        f"{tmp_path}/smtp-router.db: Is a directory"
    }
    assert len(router.log.find(event)) <= 2  # one at the start, one later


def wait_until_written(router: Router | Serve) -> None:
    """Send another message that looks the same: it is delivered when all that is known is written."""
    assert _send_by(router, b"z@a.example", [B]).lines[0].startswith(b"2.0.0 Delivered as ")


def kill(router: Serve) -> None:
    router.signal(signal.SIGKILL)
    router.ended()
