"""Floods and guesses, in virtual time."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.config.settings import Settings
from smtp_router.core.reply import Reply
from smtp_router.smtp.guard import BUSY, LOCKED_OUT, MAX_ADDRESSES, RESERVED_FILES, Guard
from tests.support import VirtualClock

ATTACKER, OTHER = "192.0.2.1", "192.0.2.2"
FILE = 3  # a connection's descriptor when few are in use


def make_guard(clock: VirtualClock | None = None, *, max_files: int = 20_000, **limits: float) -> Guard:
    settings = replace(Settings(users=()), **limits)  # type: ignore[arg-type]  # any of them
    return Guard(settings, clock or VirtualClock(), max_files=max_files)


def fail(guard: Guard, address: str = ATTACKER) -> float | None:
    """One failed login: the delay before its answer, or `None` if it was not even tried."""
    if guard.login_begins(address) is not None:
        return None
    return guard.delay_s(address)


# Passwords


@pytest.mark.parametrize(
    ("allowed", "delays"),
    [
        (1, [0.0, 1.0, None, None]),
        (3, [0.0, 0.0, 0.0, 1.0, 2.0, 4.0, None, None]),
        (7, [*7 * [0.0], 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0, None]),
    ],
)
def test_failures_are_answered_later_and_later_and_then_not_at_all(
    allowed: int, delays: list[float | None]
) -> None:
    guard = make_guard(auth_failures=allowed)
    assert [fail(guard) for _ in delays] == delays
    assert guard.login_begins(ATTACKER) == LOCKED_OUT
    assert fail(guard, OTHER) == 0.0


def test_failures_count_within_the_window_only() -> None:
    clock = VirtualClock()
    guard = make_guard(clock, auth_failures=2, auth_window_s=60)
    assert [fail(guard), fail(guard)] == [0.0, 0.0]
    clock.advance(30)
    assert [fail(guard), fail(guard), fail(guard)] == [1.0, 2.0, None]
    clock.advance(31)
    assert [fail(guard), fail(guard), fail(guard)] == [1.0, 2.0, None]
    clock.advance(61)
    assert fail(guard) == 0.0


def test_attempts_count_while_they_run() -> None:
    """As many at the same time as one likes would gain nothing."""
    guard = make_guard(auth_failures=2)
    assert [guard.login_begins(ATTACKER) for _ in range(6)] == 4 * [None] + 2 * [LOCKED_OUT]


def test_a_success_takes_back_its_own_attempt_only() -> None:
    guard = make_guard(auth_failures=2)
    assert [fail(guard), fail(guard), fail(guard)] == [0.0, 0.0, 1.0]
    for _ in range(10):
        assert guard.login_begins(ATTACKER) is None
        guard.login_succeeded(ATTACKER)
    assert fail(guard) == 2.0


def test_a_success_without_attempts_is_nothing() -> None:
    guard = make_guard(auth_failures=1)
    guard.login_succeeded(ATTACKER)
    assert fail(guard) == 0.0


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_an_ipv6_customer_has_a_64_and_is_one(one: str, another: str, *, same: bool) -> None:
    guard = make_guard(auth_failures=1)
    fail(guard, one)
    assert fail(guard, another) == (1.0 if same else 0.0)


def test_addresses_are_not_kept_for_ever() -> None:
    guard = make_guard(auth_failures=1)
    fail(guard)
    for number in range(MAX_ADDRESSES):
        fail(guard, f"2001:db8:{number // 65536:x}:{number % 65536:x}::1")
    assert fail(guard) == 0.0


# Connections


@pytest.mark.parametrize(
    ("limits", "addresses", "taken"),
    [
        ({"max_connections": 2, "max_connections_per_address": 2}, "ab", 2),
        ({"max_connections": 2, "max_connections_per_address": 2}, "abc", 2),
        ({"max_connections": 20, "max_connections_per_address": 3}, "aaaa", 3),
        ({"max_connections": 20, "max_connections_per_address": 3}, "aaabbb", 6),
        ({"max_connections": 20, "max_connections_per_address": 100}, 20 * "a", 18),
        ({"max_connections": 1, "max_connections_per_address": 1}, "a", 1),
        (
            {"max_connections": 100, "max_connections_per_address": 5, "max_files": RESERVED_FILES + 4},
            "abc",
            2,
        ),
    ],
)
def test_connections_are_limited_in_total_and_per_address(
    limits: dict[str, Any], addresses: str, taken: int
) -> None:
    guard = make_guard(None, **limits)
    refusals = [guard.connected(address, FILE) for address in addresses]
    assert refusals == taken * [None] + (len(addresses) - taken) * [BUSY]


@pytest.mark.parametrize(
    ("descriptor", "reply"), [(0, None), (967, None), (968, BUSY), (999, BUSY), (5000, BUSY)]
)
def test_whoever_gets_one_of_the_last_descriptors_hears_why_it_cannot_stay(
    descriptor: int, reply: Reply | None
) -> None:
    """The lowest free one is given, so it tells how many are in use, by whatever."""
    guard = make_guard(max_files=1000)
    assert guard.connected(ATTACKER, descriptor) == reply
    assert guard.connected(OTHER, FILE) is None


def test_there_is_room_left_for_others() -> None:
    guard = make_guard(max_connections=100, max_connections_per_address=100)
    for _ in range(90):
        assert guard.connected(ATTACKER, FILE) is None
    assert guard.connected(ATTACKER, FILE) == BUSY
    guard.disconnected(ATTACKER)
    assert guard.connected(OTHER, FILE) is None


def test_limits_of_connections_change_with_a_reload() -> None:
    guard = make_guard(max_connections=1)
    assert [guard.connected(address, FILE) for address in "ab"] == [None, BUSY]
    guard.follow(Settings(users=(), max_connections=3))
    assert [guard.connected(address, FILE) for address in "cd"] == [None, BUSY]


def test_a_users_sessions_are_limited_wherever_they_come_from() -> None:
    guard = make_guard()
    assert [guard.logged_in("a", 2), guard.logged_in("a", 2)] == [None, None]
    assert guard.logged_in("a", 2) == BUSY
    assert guard.logged_in("a", None) is None
    assert guard.logged_in("b", 1) is None
    for _ in range(4):
        guard.logged_out("a")
    assert guard.logged_in("a", 1) is None


# Content


def test_content_in_memory_has_a_bound() -> None:
    guard = make_guard(max_memory_bytes=1000)
    guard.hold(600)
    guard.hold(400)
    assert not guard.is_full()
    guard.hold(1)
    assert guard.is_full()
    guard.hold(-601)
    assert not guard.is_full()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_counts_return_to_nothing(events: list[tuple[str, bool]]) -> None:
    """Refused or not, whoever has come goes."""
    guard = make_guard(max_connections=4, max_connections_per_address=2)
    here: list[str] = []
    for address, comes in events:
        if comes:
            guard.connected(address, FILE)
            guard.logged_in(address, 1)
            here.append(address)
        elif here:
            gone = here.pop()
            guard.logged_out(gone)
            guard.disconnected(gone)
    for gone in here:
        guard.logged_out(gone)
        guard.disconnected(gone)
    assert [guard.connected(address, FILE) for address in "abcc"] == 4 * [None]
    assert [guard.logged_in(user, 1) for user in "abc"] == 3 * [None]
