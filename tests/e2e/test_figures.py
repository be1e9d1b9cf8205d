"""The algorithms latency and least_cost, which keep figures: under many clients, and over a restart."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smtp_router.core.errors import ConfigError
from smtp_router_least_cost._bill import main as bill
from tests.running import Config, Router, config, downstream, user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


def least_cost(state: Path, *downstreams: Config) -> Config:
    algorithm = {"use": "least_cost", "options": {"state": str(state), "currency": "EUR"}}
    return config(user(*downstreams, algorithm=algorithm))


def send(router: Router, clients: int, messages: int = 1, recipients: int = 1) -> None:
    """All clients at the same time."""
    ready = threading.Barrier(clients)

    def one(_: int) -> list[int]:
        with router.client(timeout=30) as client:
            ready.wait(30)
            return [client.transaction(A, [B] * recipients, HELLO).code for _ in range(messages)]

    with ThreadPoolExecutor(clients) as pool:
        codes = [code for found in pool.map(one, range(clients)) for code in found]
    assert codes == [250] * clients * messages


def test_a_free_tier_is_used_up_to_the_message_by_many_clients_and_over_a_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers = [{"up_to": 50, "cost_per_1000": 0}, {"cost_per_1000": 5}]
    with Witness() as a, Witness(name="b") as b, Witness(name="c") as c:
        configuration = least_cost(
            tmp_path / "costs.db",
            downstream(a, options={"cost_per_1000": 2}),
            downstream(b, options={"tiers": tiers}),
            downstream(c, options={"cost_per_1000": 0, "quota": 10}),
        )
        for clients in (20, 40):
            with Router(configuration, tmp_path) as router:
                send(router, clients)
        counts = [len(one.deliveries) for one in (a, b, c)]
    assert counts == [0, 50, 10]
    assert bill([str(tmp_path / "costs.db"), "--json"]) == 0
    printed = capsys.readouterr().out
    assert '"total": "0"' in printed
    assert bill([str(tmp_path / "costs.db")]) == 0
    assert "in all 0.00 EUR" in capsys.readouterr().out


def test_what_a_downstream_refuses_costs_nothing_there(tmp_path: Path) -> None:
    with Witness({"final": b"450 4.2.1 busy"}) as a, Witness(name="b") as b:
        configuration = least_cost(
            tmp_path / "costs.db",
            downstream(a, options={"cost_per_1000": 1, "quota": 5}),
            downstream(b, options={"cost_per_1000": 2}),
        )
        with Router(configuration, tmp_path) as router:
            send(router, 1, messages=10)
            assert len(b.deliveries) == 10
            a.on("final", b"250 2.0.0 ok")
            send(router, 1, messages=10)
        assert (len(a.deliveries), len(b.deliveries)) == (5, 15)


def test_a_downstream_without_a_price_is_an_error_at_the_start(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b:
        configuration = least_cost(
            tmp_path / "costs.db", downstream(a, options={"cost_per_1000": 1}), downstream(b)
        )
        with pytest.raises(ConfigError, match="downstream b: options must have cost_per_1000 or tiers"):
            Router(configuration, tmp_path).__enter__()


def test_latency_leaves_what_fails_at_once(tmp_path: Path) -> None:
    with (
        Witness({"mail": b"450 4.2.1 busy"}) as a,
        Witness(name="b") as b,
        Router(config(user(a, b, algorithm="latency")), tmp_path) as router,
    ):
        send(router, 1, messages=100)
        assert len(b.deliveries) == 100
        tries = sum(command.startswith(b"MAIL") for command in a.commands)
    assert 0 < tries < 30  # the first ones, and those that explore
