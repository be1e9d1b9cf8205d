"""Log lines that strangers can cause, in virtual time."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.smtp.complaints import PERIOD_S, Complaints
from tests.support import VirtualClock

LOG = logging.getLogger("tests.complaints")


class Records(logging.Handler):
    """What was logged: the message and its fields."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.levels: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.getMessage(), vars(record)["fields"]))
        self.levels.append(record.levelno)


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    LOG.addHandler(handler)
    yield handler
    LOG.removeHandler(handler)


def test_one_line_a_second_is_written_for_a_cause_and_the_others_are_counted(records: Records) -> None:
    clock = VirtualClock()
    complaints = Complaints(LOG, clock)
    for _ in range(1000):
        complaints.write("refused", peer="192.0.2.1")
    clock.advance(0.99)
    complaints.write("refused", peer="192.0.2.2")
    clock.advance(0.01)
    complaints.write("refused", peer="192.0.2.3")
    clock.advance(1)
    complaints.write("refused", peer="192.0.2.4")
    assert records.lines == [
        ("refused", {"peer": "192.0.2.1"}),
        ("refused", {"peer": "192.0.2.3", "left_out": 1000}),
        ("refused", {"peer": "192.0.2.4"}),
    ]


def test_each_cause_has_its_own_second(records: Records) -> None:
    complaints = Complaints(LOG, VirtualClock())
    for cause in ("a", "b", "a", "b"):
        complaints.write(cause)
    assert [cause for cause, _ in records.lines] == ["a", "b"]


def test_a_line_has_the_level_it_is_given(records: Records) -> None:
    LOG.setLevel(logging.INFO)
    complaints = Complaints(LOG, VirtualClock())
    complaints.write("a")
    complaints.write("b", level=logging.INFO)
    assert records.levels == [logging.WARNING, logging.INFO]


def test_the_first_line_is_written_whatever_time_it_is(records: Records) -> None:
    """The clock of a machine that has just started is near 0."""
    Complaints(LOG, VirtualClock(start=0.0)).write("a")
    assert len(records.lines) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2)), max_size=60))
def test_no_case_is_lost_and_no_second_has_two_lines(cases: list[tuple[str, float]]) -> None:
    records = Records()
    LOG.addHandler(records)
    clock = VirtualClock()
    complaints = Complaints(LOG, clock)
    instants: dict[str, list[float]] = {"a": [], "b": []}
    try:
        for cause, pause in cases:
            clock.advance(pause)
            before = len(records.lines)
            complaints.write(cause)
            if len(records.lines) > before:
                instants[cause].append(clock.now())
        clock.advance(2 * PERIOD_S)  # the sum of the pauses is rounded
        for cause in "ab":
            complaints.write(cause)
    finally:
        LOG.removeHandler(records)
    for cause in "ab":
        told = [fields.get("left_out", 0) for name, fields in records.lines if name == cause]
        assert len(told) + sum(map(int, map(str, told))) == 1 + sum(name == cause for name, _ in cases)
        gaps = [
            later - earlier for earlier, later in zip(instants[cause], instants[cause][1:], strict=False)
        ]
        assert all(gap >= PERIOD_S for gap in gaps)
