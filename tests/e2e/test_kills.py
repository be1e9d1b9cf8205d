"""Routers that are killed, or told to stop, at random moments under load from clients that try again."""

import signal
from pathlib import Path

from tests.underload import rounds

ROUNDS = 10
"""`make soak` does 100."""


def test_kills_lose_nothing_and_double_only_what_no_client_had_an_answer_to(tmp_path: Path) -> None:
    crowd, codes = rounds(tmp_path, signal.SIGKILL, ROUNDS)
    assert crowd.ledgers.violations() == []
    assert crowd.errors == []
    assert set(crowd.ledgers.codes) <= {250, None}
    assert crowd.ledgers.codes[250] > 10 * ROUNDS
    assert codes == ROUNDS * [-signal.SIGKILL]


def test_a_stop_under_load_leaves_no_client_without_an_answer(tmp_path: Path) -> None:
    crowd, codes = rounds(tmp_path, signal.SIGTERM, 3)
    assert crowd.ledgers.violations() == []
    assert crowd.errors == []
    assert set(crowd.ledgers.codes) == {250}
    assert crowd.ledgers.doubles == 0
    assert codes == [0, 0, 0]
