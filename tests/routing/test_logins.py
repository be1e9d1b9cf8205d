import hmac
from pathlib import Path
from typing import Any

import pytest

from smtp_router.routing.epoch import Epoch
from smtp_router.routing.logins import Logins
from tests.routing.bench import Bench
from tests.support import PASSWORD, USER, VirtualClock


def logins() -> Logins:
    return Logins(b"key", VirtualClock())


@pytest.fixture
def epoch(tmp_path: Path) -> Epoch:
    return Bench(tmp_path).epochs.current


@pytest.mark.parametrize(
    ("login", "password", "right"),
    [
        (USER, PASSWORD, True),
        (USER, PASSWORD + " ", False),
        (USER, PASSWORD.upper(), False),
        (USER, "", False),
        (USER.upper(), PASSWORD, False),
        ("nobody@example.com", PASSWORD, False),
        ("nobody@example.com", "", False),
        ("", "", False),
    ],
)
async def test_a_login_is_right_with_its_own_password_only(
    epoch: Epoch, login: str, password: str, *, right: bool
) -> None:
    assert await logins().check(epoch, login, password) is right


async def test_a_password_may_be_any_text(tmp_path: Path) -> None:
    epoch = Bench(tmp_path, password="grüße \U0001f511").epochs.current
    assert await logins().check(epoch, USER, "grüße \U0001f511")
    assert not await logins().check(epoch, USER, "grusse")


async def test_an_unknown_user_takes_the_same_way_as_a_wrong_password(
    epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many digests, of the same length, and one comparison in constant time."""
    steps: list[str] = []

    def noted(name: str) -> Any:  # noqa: ANN401 - stands in for any function of hmac
        function = getattr(hmac, name)

        def call(*args: Any) -> Any:  # noqa: ANN401
            steps.append(name)
            return function(*args)

        return call

    for name in ("digest", "compare_digest"):
        monkeypatch.setattr(hmac, name, noted(name))
    assert not await logins().check(epoch, USER, "wrong")
    known, steps = steps, []
    assert not await logins().check(epoch, "nobody@example.com", "wrong")
    assert steps == known
    assert known.count("compare_digest") == 1
