"""A quota holds to the message over restarts, kills and several processes, over real sockets."""

import itertools
import signal
import sqlite3
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_faults import HELLO, A, B
from tests.rawclient import RawClient
from tests.running import Config, Program, Router, Serve, downstream, one_user
from tests.script import HANG, NORMAL
from tests.witness import Witness

QUOTA = 60
CLIENTS = 6


def limited(witness: Witness, **limits: int) -> Config:
    each_its_own = {"max_messages_per_connection": 1}  # so that every one meets the banner
    limits = limits or {"per_day": QUOTA, "per_month": QUOTA}
    return one_user(downstream(witness, limits=limits, pool=each_its_own))


def use_up(router: Router | Serve, tries: int = QUOTA + 20) -> int:
    """Send until the quota is used up; how many were delivered."""
    with router.client() as client:
        codes = [client.transaction(A, [B], HELLO).code for _ in range(tries)]
    assert set(codes) <= {250, 451}
    return codes.count(250)


def kill(router: Serve) -> None:
    router.signal(signal.SIGKILL)
    router.ended()


def test_a_quota_holds_over_a_restart_in_order(tmp_path: Path) -> None:
    with Witness() as a:
        with Router(limited(a), tmp_path) as router:
            assert use_up(router, 20) == 20
        with Router(limited(a), tmp_path) as router:
            assert use_up(router) == QUOTA - 20
        assert len(a.deliveries) == QUOTA
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "smtp-router.db"}


def test_a_quota_holds_over_a_kill_between_messages(tmp_path: Path) -> None:
    with Witness() as a:
        with Serve(limited(a), tmp_path) as router:
            assert use_up(router, 20) == 20
            kill(router)
        with Serve(limited(a), tmp_path) as router:
            assert use_up(router) == QUOTA - 20
        assert len(a.deliveries) == QUOTA


def test_a_daily_quota_of_1000_over_two_runs_and_a_kill_lets_exactly_1000_through(
    tmp_path: Path,
) -> None:
    with Witness() as a:
        kept = one_user(downstream(a, limits={"per_day": 1000}))
        with Serve(kept, tmp_path) as router:
            assert use_up(router, 301) == 301
        with Serve(kept, tmp_path) as router:
            assert use_up(router, 302) == 302
            kill(router)
        with Serve(kept, tmp_path) as router:
            assert use_up(router, 500) == 1000 - 301 - 302
        assert len(a.deliveries) == 1000


@pytest.mark.parametrize(
    ("stage", "lost"), [("banner", 0), ("rcpt", 0), ("data", 0), ("final", CLIENTS)]
)
def test_of_what_a_kill_interrupts_only_what_may_have_been_taken_counts(
    stage: str, lost: int, tmp_path: Path
) -> None:
    with Witness() as a:
        with Serve(limited(a), tmp_path) as router, ExitStack() as clients:
            assert use_up(router, 10) == 10
            a.on(stage, HANG)
            for _ in range(CLIENTS):
                _begin(clients.enter_context(router.client()))
            a.wait_for(lambda: len(a.hanging) == CLIENTS)
            kill(router)
        a.on(stage, NORMAL)
        a.release()
        with Serve(limited(a), tmp_path) as router:
            assert use_up(router) == QUOTA - 10 - lost
        assert len(a.deliveries) == QUOTA - lost


def test_a_quota_is_not_overshot_by_a_kill_under_load(tmp_path: Path) -> None:
    with Witness() as a:
        with Serve(limited(a), tmp_path) as router:
            clients = [threading.Thread(target=_send, args=(router,)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            a.wait_deliveries(QUOTA // 3)
            kill(router)
            for client in clients:
                client.join()
        with Serve(limited(a), tmp_path) as router:
            use_up(router)
        # A message counts that was killed between the count and the final dot, which takes microseconds.
        assert QUOTA - CLIENTS <= len(a.deliveries) <= QUOTA


def test_processes_share_a_quota(tmp_path: Path) -> None:
    with Witness() as a, ExitStack() as stack:
        routers = []
        for name in "ab":
            (tmp_path / name).mkdir()
            config = limited(a) | {"state": str(tmp_path / "state.db")}
            routers.append(stack.enter_context(Serve(config, tmp_path / name)))
        for _, router in zip(range(100), itertools.cycle(routers), strict=False):
            use_up(router, 2)
            if len(a.deliveries) == QUOTA:
                break
        assert [use_up(router, 3) for router in routers] == [0, 0]
        assert len(a.deliveries) == QUOTA


def test_a_state_file_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    with Witness() as a:
        for state, problem in (
            ("none/state.db", "No such file or directory"),
            ("damaged.db", "file is not a database"),
        ):
            (tmp_path / "damaged.db").write_bytes(b"no database" * 1000)
            file = tmp_path / "config.yaml"
            Router(limited(a) | {"state": state}, tmp_path)
            with Program("serve", "-c", str(file), cwd=tmp_path) as program:
                assert program.ended() == 2
            assert f"state: {tmp_path / state}: {problem}" in program.output


def test_without_a_quota_no_state_file_is_made(tmp_path: Path) -> None:
    with Witness() as a, Router(limited(a, per_hour=10), tmp_path) as router:
        assert use_up(router, 20) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_quota_that_a_reload_brings_counts_from_then_on(tmp_path: Path) -> None:
    with Witness() as a, Router(limited(a, per_hour=1000), tmp_path) as router:
        assert use_up(router, 10) == 10
        router.configure(limited(a, per_day=5))
        router.reload()
        router.log.wait("reloaded")
        assert use_up(router, 10) == 5
    connection = sqlite3.connect(tmp_path / "smtp-router.db")
    assert connection.execute("SELECT sum(units) FROM counted").fetchone() == (5,)
    connection.close()


def _begin(client: RawClient) -> None:
    """Send a message, and wait for no reply to it."""
    client.envelope(A, [B])
    client.wire(HELLO + b".\r\n")


def _send(router: Serve) -> None:
    """Send until the router is gone."""
    try:
        with router.client() as client:
            for _ in range(1000):
                client.transaction(A, [B], HELLO)
    except (OSError, EOFError):  # it is gone
        return
