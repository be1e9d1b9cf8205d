"""A downstream that was down gets its turn back as soon as it works, over real sockets."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.test_faults import HELLO, A, B
from tests.running import Router, one_user
from tests.script import NORMAL
from tests.witness import Witness

QUICK = {"failures": 2, "rest_s": 0.2, "max_rest_s": 0.5}
BACK_S = 10.0
"""Within which a breaker has to notice."""


def until_it_is_back(router: Router, witness: Witness) -> None:
    """Send one message after the other until one is at this downstream; none may fail."""
    before = len(witness.deliveries)
    end = time.monotonic() + BACK_S
    with router.client() as client:
        while len(witness.deliveries) == before:
            assert client.transaction(A, [B], HELLO).code == 250
            assert time.monotonic() < end, "it never got its turn back"


def test_a_downstream_that_is_back_gets_its_turn_back_without_a_restart(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b:
        with Router(one_user(a, b, health=QUICK), tmp_path) as router:
            with router.client() as client:
                a.stop()
                for _ in range(10):
                    assert client.transaction(A, [B], HELLO).code == 250
            router.log.wait("downstream rests", downstream="a", whose="server")
            failed = len(router.log.find("attempt", downstream="a"))
            assert failed < 10
            a.start()
            until_it_is_back(router, a)
            router.log.wait("downstream is back", downstream="a")
        attempts = len(router.log.find("attempt"))
        assert len(a.deliveries) + len(b.deliveries) == len(router.log.find("message"))
        assert attempts > len(router.log.find("message"))


def test_a_login_that_works_again_gets_its_turn_back(tmp_path: Path) -> None:
    with (
        Witness({"auth": b"535 5.7.8 locked"}, auth=("router", "s3cret")) as a,
        Witness(name="b") as b,
        Router(one_user(a, b, health=QUICK), tmp_path) as router,
    ):
        with router.client() as client:
            for _ in range(10):
                assert client.transaction(A, [B], HELLO).code == 250
        router.log.wait("downstream rests", downstream="a", whose="account")
        a.on("auth", NORMAL)
        until_it_is_back(router, a)


def test_a_rest_costs_no_client_an_error_under_load(tmp_path: Path) -> None:
    """The preferred downstream goes and comes back while many clients send."""
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(one_user(a, b, health=QUICK), tmp_path) as router,
    ):
        codes: list[int] = []
        enough = threading.Event()

        def until_enough() -> Iterator[int]:
            return itertools.takewhile(lambda _: not enough.is_set(), range(2000))

        def send() -> None:
            with router.client() as client:
                codes.extend(client.transaction(A, [B], HELLO).code for _ in until_enough())

        clients = [threading.Thread(target=send) for _ in range(8)]
        for client in clients:
            client.start()
        try:
            a.wait_deliveries(20)
            a.stop()
            router.log.wait("downstream rests", downstream="a")
            b.wait_deliveries(20)
            a.start()
            a.wait_deliveries(len(a.deliveries) + 20)
        finally:
            enough.set()
            for client in clients:
                client.join()
        # What a downstream had in hand as it went is in doubt, or its own; nothing is refused for good.
        assert set(codes) <= {250, 451}
        assert codes.count(451) <= len(clients)
        assert codes[-20:] == [250] * 20
