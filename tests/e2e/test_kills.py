"""Routers that are killed, or told to stop, at random moments under load from clients that try again."""

import resource
import signal
from pathlib import Path

import pytest

from tests.crowd import Crowd
from tests.running import Serve
from tests.underload import rounds, signals

ROUNDS = 10
"""`make soak` does 100."""
LINE = 98 * b"x" + b"\r\n"


def test_kills_lose_nothing_and_double_only_what_no_client_had_an_answer_to(tmp_path: Path) -> None:
    crowd, codes = rounds(tmp_path, ROUNDS, signals(signal.SIGKILL))
    assert crowd.ledgers.violations() == []
    assert crowd.errors == []
    assert set(crowd.ledgers.codes) <= {250, None}
    assert crowd.ledgers.codes[250] > 10 * ROUNDS
    assert codes == ROUNDS * [-signal.SIGKILL]


def test_a_stop_under_load_leaves_no_client_without_an_answer(tmp_path: Path) -> None:
    crowd, codes = rounds(tmp_path, 3, signals(signal.SIGTERM))
    assert crowd.ledgers.violations() == []
    assert crowd.errors == []
    assert set(crowd.ledgers.codes) == {250}
    assert crowd.ledgers.doubles == 0
    assert codes == [0, 0, 0]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="takes Linux")
def test_a_process_that_gets_no_more_memory_loses_no_message(tmp_path: Path) -> None:
    """It loses sessions, or its life: libuv does not go on without memory."""

    def starve(router: Serve, crowd: Crowd) -> int:
        process = router.program.process.pid
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[0])
        enough = pages * resource.getpagesize() + 10_000_000
        resource.prlimit(process, resource.RLIMIT_AS, (enough, enough))
        crowd.wait_lost(crowd.lost_sessions + 10)
        router.signal(signal.SIGKILL)
        return router.ended()

    crowd, codes = rounds(tmp_path, 2, starve, clients=16, body=10_000 * LINE)
    assert crowd.ledgers.violations() == []
    assert crowd.errors == []
    assert set(crowd.ledgers.codes) <= {250, 451, 452, None}
    assert set(codes) <= {-signal.SIGKILL, -signal.SIGABRT}
