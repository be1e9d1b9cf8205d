"""Messages that come a second time are found, for as long as it may matter."""

import pytest

from smtp_router.routing import doubts
from smtp_router.routing.doubts import Doubts, Kind
from tests.support import make_message


class Wall:
    """A clock on the wall."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_the_same_message_is_found_until_its_time_is_over() -> None:
    wall = Wall()
    known = Doubts(wall)
    first = make_message(id="first")
    assert known.find(first) is None
    doubt = known.add(first, Kind.UNHEARD, "a", for_s=3600)
    assert (doubt.id, doubt.downstream, doubt.kind) == ("first", "a", "unheard")
    wall.now += 3599
    assert known.find(make_message(id="second")) == doubt
    wall.now += 1
    assert known.find(make_message(id="second")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"user": "other@example.com"},
        {"mail_from": "x@a.example"},
        {"content": b"Subject: hallo\r\n\r\n"},
    ],
)
def test_another_message_is_not(change: dict[str, object]) -> None:
    known = Doubts(Wall())
    known.add(make_message(), Kind.IN_DOUBT, "a", for_s=60)
    assert known.find(make_message(**change)) is None


def test_what_is_known_now_is_found_no_more() -> None:
    known = Doubts(Wall())
    doubt = known.add(make_message(), Kind.IN_DOUBT, "a", for_s=60)
    known.remove(doubt)
    known.remove(doubt)
    assert known.find(make_message()) is None


def test_the_last_word_about_a_message_counts() -> None:
    known = Doubts(Wall())
    known.add(make_message(), Kind.IN_DOUBT, "a", for_s=60)
    last = known.add(make_message(), Kind.UNHEARD, "b", for_s=60)
    assert known.find(make_message()) == last
    known.remove(last)
    assert known.find(make_message()) is None


def test_no_more_are_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "MAX_KEPT", 3)
    known = Doubts(Wall())
    messages = [make_message(mail_from=f"{number}@a.example") for number in range(5)]
    for message in messages:
        known.add(message, Kind.UNHEARD, "a", for_s=60)
    assert [known.find(message) is not None for message in messages] == [False, False, True, True, True]


def test_they_outlive_the_process() -> None:
    wall = Wall()
    before = Doubts(wall)
    doubt = before.add(make_message(), Kind.UNHEARD, "a", for_s=60)
    late = before.add(make_message(mail_from=""), Kind.UNHEARD, "a", for_s=1)
    wall.now += 2
    after = Doubts(wall, [doubt, late])
    assert after.find(make_message()) == doubt
    assert after.find(make_message(mail_from="")) is None
