"""The algorithms that come with the router, under many clients and with downstreams that fail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smtp_router import ConfigError
from tests.rawclient import RawReply
from tests.running import Router, Serve, config, downstream, one_user, user
from tests.script import HANG
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


@pytest.mark.parametrize("serve", [Router, Serve])
def test_round_robin_is_even_to_one_message_among_200_clients(
    serve: type[Router | Serve], tmp_path: Path
) -> None:
    """Also when all submit at the same instant."""
    clients = 200
    ready = threading.Barrier(clients)
    with (
        Witness() as a,
        Witness(name="b") as b,
        Witness(name="c") as c,
        serve(config(user(a, b, c, algorithm="round_robin")), tmp_path) as router,
    ):

        def send(_: int) -> list[RawReply]:
            with router.client(timeout=30) as client:
                ready.wait(30)
                return [client.transaction(A, [B], HELLO) for _ in range(2)]

        with ThreadPoolExecutor(clients) as pool:
            replies = [reply for both in pool.map(send, range(clients)) for reply in both]
        counts = [len(witness.deliveries) for witness in (a, b, c)]
    assert {reply.code for reply in replies} == {250}
    assert sum(counts) == 2 * clients
    assert max(counts) - min(counts) <= 1


def test_round_robin_goes_on_past_a_downstream_that_fails(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Witness({"rcpt": b"450 4.2.1 busy"}, name="b") as b,
        Witness(name="c") as c,
        Router(config(user(a, b, c, algorithm="round_robin")), tmp_path) as router,
        router.client() as client,
    ):
        for _ in range(12):
            assert client.transaction(A, [B], HELLO).code == 250
        assert not b.deliveries
        assert len(a.deliveries) + len(c.deliveries) == 12
        assert abs(len(a.deliveries) - len(c.deliveries)) <= 1
        b.on("rcpt", b"250 2.1.5 ok")
        before = [len(witness.deliveries) for witness in (a, b, c)]
        for _ in range(12):
            assert client.transaction(A, [B], HELLO).code == 250
        after = [len(witness.deliveries) for witness in (a, b, c)]
        assert [now - then for now, then in zip(after, before, strict=True)] == [4, 4, 4]


def test_each_user_has_turns_of_its_own(tmp_path: Path) -> None:
    names = ("one@app.example", "two@app.example")
    with Witness() as a, Witness(name="b") as b:
        users = [user(a, b, email=name, algorithm="round_robin") for name in names]
        with Router(config(*users), tmp_path) as router:
            for expected in ([2, 0], [2, 2]):  # the first turn of each is a's
                for name in names:
                    with router.client(name) as client:
                        assert client.transaction(A, [B], HELLO).code == 250
                assert [len(a.deliveries), len(b.deliveries)] == expected


def test_weighted_gives_each_its_share_and_a_standby_what_is_left(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b, Witness(name="c") as c:
        new = {"weight": 8, "warmup": {"from": "2020-01-01", "days": 30}}
        listed = [downstream(a, options=new), downstream(b, options={"weight": 2})]
        listed.append(downstream(c, options={"weight": 0}))
        with Router(config(user(*listed, algorithm="weighted")), tmp_path) as router:
            with router.client() as client:
                for _ in range(20):
                    assert client.transaction(A, [B], HELLO).code == 250
                assert [len(one.deliveries) for one in (a, b, c)] == [16, 4, 0]
                for one in (a, b):
                    one.on("mail", b"421 4.3.2 closing")
                assert client.transaction(A, [B], HELLO).code == 250
            assert [len(one.deliveries) for one in (a, b, c)] == [16, 4, 1]


@pytest.mark.parametrize("name", ["sticky", "weighted"])
def test_a_wrong_weight_is_found_before_any_mail_comes(tmp_path: Path, name: str) -> None:
    with Witness() as a, Witness(name="b") as b:
        wrong = config(user(a, downstream(b, options={"weight": -1}), algorithm=name))
        with pytest.raises(ConfigError) as caught, Router(wrong, tmp_path):
            pass
    (problem,) = caught.value.problems
    assert problem.key == "users[0].algorithm"
    says = "downstream b: options.weight must be a number from 0 to 1000000, not -1"
    assert problem.message == f"{name}: {says}"


def test_sticky_sends_a_domain_to_one_downstream_and_comes_back_to_it(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b:
        algorithm = {"use": "sticky", "options": {"by": {"header": "X-Campaign"}}}
        with (
            Router(config(user(a, b, algorithm=algorithm)), tmp_path) as router,
            router.client() as client,
        ):

            def send() -> list[int]:
                for campaign in range(12):
                    content = b"X-Campaign: %d\r\n\r\nhello\r\n" % campaign
                    assert client.transaction(A, [B], content).code == 250
                return [len(one.deliveries) for one in (a, b)]

            first = send()
            assert all(first)
            assert send() == [2 * count for count in first]
            a.on("rcpt", b"450 4.2.1 busy")
            assert send() == [2 * first[0], 2 * first[1] + 12]
            a.on("rcpt", b"250 2.1.5 ok")
            assert send() == [3 * first[0], 3 * first[1] + 12]


def test_failover_is_back_at_the_first_as_soon_as_it_works(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
        router.client() as client,
    ):
        for works in (True, False, True, True, False, False, True):
            if works:
                a.on("mail", b"250 2.1.0 ok")
            else:
                a.on("mail", b"421 4.3.2 closing")
            before = len(a.deliveries), len(b.deliveries)
            assert client.transaction(A, [B], HELLO).code == 250
            after = len(a.deliveries), len(b.deliveries)
            assert (after[0] - before[0], after[1] - before[1]) == (works, not works)


def test_one_downstream_that_hangs_holds_up_no_other_message(tmp_path: Path) -> None:
    with (
        Witness({"mail": [HANG, b"250 2.1.0 ok"]}) as a,
        Router(one_user(a), tmp_path) as router,
        router.client() as stuck,
        router.client() as client,
    ):
        assert stuck.envelope(A, [B]).code == 250
        stuck.wire(HELLO + b".\r\n")
        a.wait_for(lambda: a.hanging)
        for _ in range(5):
            assert client.transaction(A, [B], HELLO).code == 250
        a.release()
        assert stuck.reply().code == 451


ORIGINAL = """\
users:
  - email: "user@example.com"
    password: "password"
    selector_algo_path: "./round_robin.py"
    downstreams:
      - addr: "{a}"
        user: "apikey"
        pass: "secret"
      - addr: "{b}"
        user: "user"
        pass: "pass"
"""


def test_the_short_form_that_it_all_began_with_works(tmp_path: Path) -> None:
    """As it was written, but for the addresses, and a free port to listen on."""
    (tmp_path / "round_robin.py").write_text(
        "import itertools\n"
        "from smtp_router import hookimpl\n\n"
        "turns = itertools.count()\n\n\n"
        "@hookimpl\n"
        "def select_downstream(downstreams):\n"
        "    return downstreams[next(turns) % len(downstreams)]\n"
    )
    with Witness(auth=("apikey", "secret")) as a, Witness(auth=("user", "pass"), name="b") as b:
        text = ORIGINAL.format(a=a.addr, b=b.addr) + "listen: [{addr: '127.0.0.1:0'}]\n"
        router = Serve({}, tmp_path)
        router.write(text.encode())
        with router, router.client("user@example.com", "password") as client:
            for _ in range(4):
                assert client.transaction(A, [B], HELLO).code == 250
        assert [delivery.login for delivery in a.deliveries] == 2 * [b"apikey"]
        assert [delivery.login for delivery in b.deliveries] == 2 * [b"user"]
