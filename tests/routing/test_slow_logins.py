"""Logins whose passwords are stored in slow forms: the same work, whoever it is; and not twice."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from smtp_router.config.load import load
from smtp_router.credentials import Kind, Verifier, derive, kind_of, make, verifier_of
from smtp_router.hooks.registry import Registry
from smtp_router.routing import logins as module
from smtp_router.routing.epoch import Epoch, build
from smtp_router.routing.logins import MAX_REMEMBERED, REMEMBER_S, Logins
from tests.routing.bench import Bench
from tests.support import VirtualClock, config_text, user_config

STORED = {kind: make(kind, "right") for kind in Kind}
FORMS = [frozenset(forms) for size in (1, 2, 3) for forms in combinations(Kind, size)]


class Threads(ThreadPoolExecutor):
    """Threads that note what they were given: a verification of which form, a derivation."""

    given: list[str]

    def submit(
        self,
        work: Callable[..., Any],
        /,
        *args: Any,  # noqa: ANN401 - as its base class has it
        **kwargs: Any,  # noqa: ANN401
    ) -> Future[Any]:
        self.given.append("derive" if isinstance(work, partial) else kind_of(args[0]).value)
        return super().submit(work, *args, **kwargs)


@pytest.fixture(autouse=True)
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the threads were given to do."""
    given: list[str] = []
    monkeypatch.setattr(Threads, "given", given, raising=False)
    monkeypatch.setattr(module, "ThreadPoolExecutor", Threads)
    return given


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def logins(work: list[str], clock: VirtualClock) -> Iterator[Logins]:
    del work
    made = Logins(b"key", clock)
    yield made
    made.close()


def epoch(folder: Path, passwords: dict[str, str]) -> Epoch:
    """One in which these logins have these passwords, as they are stored."""
    bench = Bench(folder)
    users = [user_config(email=login, password=stored) for login, stored in passwords.items()]
    bench.write("config.yaml", config_text(*users))
    return build(load(bench.config), Registry())


@pytest.mark.parametrize("kind", Kind)
async def test_every_form_lets_its_password_in_and_no_other(
    kind: Kind, logins: Logins, tmp_path: Path
) -> None:
    one = epoch(tmp_path, {"a": STORED[kind]})
    assert not await logins.check(one, "a", "wrong")
    assert await logins.check(one, "a", "right")
    assert not await logins.check(one, "a", "wrong")
    assert not await logins.check(one, "b", "right")
    assert not await logins.check(one, "a", STORED[kind]) or kind is Kind.PLAIN


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: "+".join(sorted(forms)))
async def test_a_failed_login_costs_one_verification_of_each_form_in_use(
    forms: frozenset[Kind], logins: Logins, work: list[str], tmp_path: Path
) -> None:
    """Whatever form its own password has, and if it has none: its time says nothing."""
    one = epoch(tmp_path, {kind.value: STORED[kind] for kind in forms})
    slow = sorted(forms - {Kind.PLAIN})
    for login in (*forms, "nobody", ""):
        for password in ("wrong", "nobody has this one", ""):
            work.clear()
            assert not await logins.check(one, login, password)
            assert sorted(work) == slow, login


async def test_a_success_is_remembered_for_a_while(
    logins: Logins, work: list[str], clock: VirtualClock, tmp_path: Path
) -> None:
    one = epoch(tmp_path, {"a": STORED[Kind.ARGON2]})
    assert [await logins.check(one, "a", "right") for _ in range(3)] == 3 * [True]
    clock.advance(REMEMBER_S - 1)
    assert await logins.check(one, "a", "right")
    assert work == ["argon2"]
    clock.advance(1)
    assert await logins.check(one, "a", "right")
    assert work == ["argon2", "argon2"]


async def test_a_failure_is_not_remembered(logins: Logins, work: list[str], tmp_path: Path) -> None:
    one = epoch(tmp_path, {"a": STORED[Kind.ARGON2]})
    assert [await logins.check(one, "a", "wrong") for _ in range(3)] == 3 * [False]
    assert work == 3 * ["argon2"]


async def test_a_changed_password_or_a_user_that_has_gone_is_not_remembered(
    logins: Logins, tmp_path: Path
) -> None:
    assert await logins.check(epoch(tmp_path, {"a": STORED[Kind.ARGON2]}), "a", "right")
    assert not await logins.check(epoch(tmp_path, {"a": make(Kind.ARGON2, "other")}), "a", "right")
    assert not await logins.check(epoch(tmp_path, {"b": STORED[Kind.ARGON2]}), "a", "right")
    assert not await logins.check(epoch(tmp_path, {"b": make(Kind.ARGON2, "x")}), "b", "right")


def response(login: str, password: str, identity: str = "") -> bytes:
    """To AUTH PLAIN (RFC 4616 2)."""
    return b64encode(f"{identity}\0{login}\0{password}".encode())


async def test_the_response_of_a_login_is_known_for_as_long_as_its_success(
    logins: Logins, clock: VirtualClock, tmp_path: Path
) -> None:
    one = epoch(tmp_path, {"a": STORED[Kind.ARGON2], "b": STORED[Kind.ARGON2]})
    assert logins.known(one, response("a", "right")) is None
    assert await logins.check(one, "a", "right")
    assert not await logins.check(one, "b", "wrong")
    clock.advance(REMEMBER_S - 1)
    assert await logins.check(one, "a", "right")
    assert logins.known(one, response("a", "right")) == "a"
    others = [("a", "wrong", ""), ("b", "right", ""), ("b", "wrong", ""), ("a", "right", "b")]
    assert {logins.known(one, response(*other)) for other in others} == {None}
    clock.advance(1)
    assert logins.known(one, response("a", "right")) is None


async def test_after_a_reload_a_response_is_known_if_the_password_is_stored_as_before(
    logins: Logins, work: list[str], tmp_path: Path
) -> None:
    passwords = {"a": STORED[Kind.ARGON2], "b": STORED[Kind.SCRAM]}
    one = epoch(tmp_path, passwords)
    assert await logins.check(one, "a", "right")
    assert await logins.check(one, "b", "right")
    work.clear()
    same = epoch(tmp_path, passwords)
    assert logins.known(same, response("a", "right")) == "a"
    assert await logins.check(same, "b", "right")
    assert work == []
    for changed in ({"a": make(Kind.ARGON2, "right")}, {"b": STORED[Kind.ARGON2]}):
        assert logins.known(epoch(tmp_path, changed), response("a", "right")) is None
    assert logins.known(same, response("a", "right")) == "a"


async def test_a_password_that_no_response_can_have_makes_none_known(
    logins: Logins, tmp_path: Path
) -> None:
    one = epoch(tmp_path, {"a": "b\0c"})
    assert await logins.check(one, "a", "b\0c")
    assert not await logins.check(one, "a\0b", "c")
    assert logins.known(one, response("a", "b\0c")) is None


async def test_what_is_remembered_has_a_bound(
    logins: Logins, work: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert MAX_REMEMBERED >= 1000
    monkeypatch.setattr(module, "MAX_REMEMBERED", 1)
    one = epoch(tmp_path, {"a": STORED[Kind.SCRAM], "b": STORED[Kind.SCRAM]})
    for login in "aabba":
        assert await logins.check(one, login, "right")
    assert work == 3 * ["scram"]


# SCRAM


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.SCRAM])
async def test_scram_gets_the_verifier_of_the_password(
    kind: Kind, logins: Logins, tmp_path: Path
) -> None:
    one = epoch(tmp_path, {"a": STORED[kind]})
    found = await logins.scram_verifier(one, "a")
    assert found == derive("right", salt=found.salt)
    assert await logins.scram_verifier(one, "a") == found
    assert kind is Kind.PLAIN or found == verifier_of(STORED[kind])


@pytest.mark.parametrize("login", ["nobody", "argon2", ""])
async def test_scram_of_nobody_looks_like_somebodys(login: str, logins: Logins, tmp_path: Path) -> None:
    """The salt stays, as a real one does, and is nobody else's; no password fits."""
    one = epoch(tmp_path, {kind.value: STORED[kind] for kind in Kind})
    found = await logins.scram_verifier(one, login)
    real = await logins.scram_verifier(one, "scram")
    assert await logins.scram_verifier(one, login) == found
    assert (len(found.salt), found.iterations) == (len(real.salt), real.iterations)
    others = [(await logins.scram_verifier(one, name)).salt for name in ("x", "plain", "scram")]
    assert found.salt not in others
    assert found.stored_key not in {derive(word, salt=found.salt).stored_key for word in ("", "right")}


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: "+".join(sorted(forms)))
async def test_scram_takes_the_same_work_for_everybody(
    forms: frozenset[Kind], logins: Logins, work: list[str], tmp_path: Path
) -> None:
    """A derivation the first time, if any password is stored plain, and none the second time."""
    one = epoch(tmp_path, {kind.value: STORED[kind] for kind in forms})
    for login in (*forms, "nobody"):
        work.clear()
        found: list[Verifier] = [await logins.scram_verifier(one, login) for _ in range(2)]
        assert found[0] == found[1]
        assert work == (["derive"] if Kind.PLAIN in forms else [])
