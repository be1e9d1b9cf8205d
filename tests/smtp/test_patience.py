"""How long a client is waited for, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.config.settings import Settings
from smtp_router.core.reply import Reply
from smtp_router.smtp.patience import IDLE, TOO_SLOW, UPLOAD_GRACE_S, Patience

START = 1000.0


def awaited(at: float, *, upload: bool = False) -> Patience:
    """Looked after at that instant, and from then on a command is awaited, or content."""
    patience = Patience()
    if upload:
        patience.begin_upload()
    assert patience.verdict(limits(), at) is None
    return patience


def limits(idle_s: float = 300, rate: int = 256) -> Settings:
    return Settings(users=(), idle_s=idle_s, min_upload_bytes_per_s=rate)


@pytest.mark.parametrize(
    ("after_s", "verdict"), [(0, None), (299.9, None), (300, IDLE), (301, IDLE), (1e9, IDLE)]
)
def test_a_whole_command_has_to_come_within_idle_s(after_s: float, verdict: Reply | None) -> None:
    assert awaited(START).verdict(limits(), START + after_s) == verdict


def test_an_answer_makes_it_the_clients_turn_anew() -> None:
    patience = awaited(START)
    patience.begin_turn()
    assert patience.verdict(limits(), START + 299) is None
    assert patience.verdict(limits(), START + 598) is None
    assert patience.verdict(limits(), START + 599) == IDLE


def test_nobody_is_idle_before_somebody_has_looked() -> None:
    """What is heard counts from the next look, which comes several times within every limit."""
    patience = awaited(START)
    patience.begin_turn()
    assert patience.verdict(limits(), START + 1e9) is None
    assert patience.verdict(limits(), START + 1e9 + 300) == IDLE


def test_content_may_pause_for_less_than_idle_s() -> None:
    patience = awaited(START, upload=True)
    patience.hear(1_000_000)
    assert patience.verdict(limits(), START + 150) is None
    assert patience.verdict(limits(), START + 449) is None
    assert patience.verdict(limits(), START + 450) == IDLE


@pytest.mark.parametrize(
    ("octets", "after_s", "verdict"),
    [
        (0, 29.9, None),  # it may take its time to get going
        (0, 30, TOO_SLOW),
        (7679, 30, TOO_SLOW),
        (7680, 30, None),
        (7680, 30.1, TOO_SLOW),
        (76_800, 299.9, None),
        (76_799, 300, TOO_SLOW),
    ],
)
def test_content_has_to_come_as_fast_as_the_configuration_says(
    octets: int, after_s: float, verdict: Reply | None
) -> None:
    """On average, from when it was awaited."""
    patience = awaited(START, upload=True)
    for _ in range(octets):
        patience.hear(1)
    assert patience.verdict(limits(rate=256), START + after_s) == verdict


def test_an_octet_now_and_then_is_not_enough() -> None:
    patience = awaited(START, upload=True)
    for second in range(1, 31):
        assert patience.verdict(limits(), START + second - 0.5) is None
        patience.hear(1)
    assert patience.verdict(limits(), START + 30) == TOO_SLOW


def test_behind_its_content_a_client_is_not_slow_any_more() -> None:
    patience = awaited(START, upload=True)
    patience.begin_turn()
    assert patience.verdict(limits(), START + 20) is None
    assert patience.verdict(limits(), START + 319) is None


def test_content_begins_anew_with_each_message() -> None:
    patience = awaited(START, upload=True)
    patience.hear(10**9)
    patience.begin_turn()
    patience.begin_upload()
    assert patience.verdict(limits(), START + 100) is None
    assert patience.verdict(limits(), START + 129) is None
    assert patience.verdict(limits(), START + 130) == TOO_SLOW


def test_content_that_is_awaited_already_does_not_begin_anew() -> None:
    patience = awaited(START, upload=True)
    patience.begin_upload()
    assert patience.verdict(limits(), START + 29) is None
    patience.begin_upload()
    assert patience.verdict(limits(), START + 30) == TOO_SLOW


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 5000)), max_size=30),
    st.integers(1, 1000),
    st.floats(0, 100),
)
def test_whoever_keeps_the_pace_is_never_cut_off(
    pieces: list[tuple[float, int]], rate: int, start: float
) -> None:
    """And whoever does not is, at any instant behind the first 30 seconds."""
    patience = awaited(start, upload=True)
    now, octets = start, 0
    for pause, size in pieces:
        now += pause
        patience.hear(size)
        octets += size
        elapsed = now - start
        slow = elapsed >= UPLOAD_GRACE_S and octets < rate * elapsed
        assert patience.verdict(limits(300, rate), now) == (TOO_SLOW if slow else None)


def test_limits_may_change_meanwhile() -> None:
    """A reload counts at once."""
    patience = awaited(START)
    assert patience.verdict(limits(idle_s=300), START + 10) is None
    assert patience.verdict(limits(idle_s=5), START + 10) == IDLE
