"""What is in doubt outlives the process, until it is used up or over."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from smtp_router.state import doubts
from smtp_router.state.doubts import Doubt, DoubtBook, Kind
from smtp_router.state.file import StateError, StateFile

ONE = Doubt(
    key="one", user="u@a.example", size=7, kind=Kind.UNHEARD, id="1", downstream="", made=100, until=200
)
TWO = replace(ONE, key="two", kind=Kind.IN_DOUBT, id="2", downstream="a", until=150)


def book(folder: Path) -> DoubtBook:
    return DoubtBook(StateFile(folder / "state.db"))


async def test_what_is_added_is_there_for_the_next(tmp_path: Path) -> None:
    before = book(tmp_path)
    await before.add(ONE)
    await before.add(TWO)
    assert book(tmp_path).load(120) == [TWO, ONE]  # those first that are over first


def test_nothing_is_made_to_find_that_there_is_nothing(tmp_path: Path) -> None:
    assert book(tmp_path).load(0) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("now", "left"), [(99, []), (100, [TWO, ONE]), (150, [ONE]), (199.9, [ONE]), (200, [])]
)
async def test_what_is_over_or_of_the_future_is_forgotten_for_good(
    tmp_path: Path, now: float, left: list[Doubt]
) -> None:
    before = book(tmp_path)
    await before.add(ONE)
    await before.add(TWO)
    assert book(tmp_path).load(now) == left
    assert book(tmp_path).load(120) == [one for one in (TWO, ONE) if one in left]


async def test_the_last_word_about_a_message_counts(tmp_path: Path) -> None:
    before = book(tmp_path)
    await before.add(ONE)
    await before.add(replace(TWO, key="one"))
    assert book(tmp_path).load(120) == [replace(TWO, key="one")]


async def test_one_can_be_removed_once_whoever_does_it(tmp_path: Path) -> None:
    one, other = book(tmp_path), book(tmp_path)
    await one.add(ONE)
    assert [await other.remove("one"), await one.remove("one")] == [True, False]
    assert book(tmp_path).load(120) == []


async def test_adding_clears_away_what_is_over(tmp_path: Path) -> None:
    before = book(tmp_path)
    await before.add(TWO)
    await before.add(replace(ONE, made=150))
    assert not await before.remove("two")


async def test_no_more_are_kept_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "MAX_KEPT", 3)
    before = book(tmp_path)
    for number in range(5):
        await before.add(replace(ONE, key=str(number), until=200 + number))
    assert [one.key for one in book(tmp_path).load(120)] == ["2", "3", "4"]


async def test_a_file_of_before_there_were_doubts_is_as_good(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    await state.run(lambda connection: connection.execute("DROP TABLE doubts"))
    await state.close()
    before = book(tmp_path)
    await before.add(ONE)
    assert book(tmp_path).load(120) == [ONE]


async def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StateError):
        await asyncio.to_thread(book(tmp_path).load, 120)
    with pytest.raises(StateError):
        await book(tmp_path).add(ONE)
