"""Messages that come a second time are found, for as long as it may matter."""

import asyncio
import logging
from pathlib import Path

import pytest

from smtp_router import Message
from smtp_router.core.decision import ACCEPTED, IN_DOUBT
from smtp_router.routing import doubts, memory
from smtp_router.routing.doubts import Doubts
from smtp_router.state.doubts import Doubt, DoubtBook, Kind
from smtp_router.state.file import StateError, StateFile
from tests.routing.bench import failures, records
from tests.support import VirtualClock, make_message

HOUR = 3600.0


class Book:
    """A book that can be made to fail."""

    def __init__(self) -> None:
        self.rows: dict[str, Doubt] = {}
        self.fails = False

    async def add(self, doubt: Doubt) -> None:
        self._see()
        self.rows[doubt.key] = doubt

    async def remove(self, key: str) -> bool:
        self._see()
        return self.rows.pop(key, None) is not None

    def _see(self) -> None:
        if self.fails:
            raise StateError("state.db: disk full")


async def found(known: Doubts, message: Message) -> Doubt | None:
    return await known.find(message) if known.may_know(message) else None


async def test_the_same_message_is_found_until_its_time_is_over() -> None:
    clock = VirtualClock()
    known = Doubts(clock)
    assert not known.may_know(make_message())
    known.unheard(make_message(id="first"), for_s=HOUR)
    doubt = await found(known, make_message(id="second"))
    assert doubt is not None
    assert (doubt.id, doubt.kind) == ("first", "unheard")
    clock.advance(HOUR - 1)
    assert await found(known, make_message()) == doubt
    clock.advance(1)
    assert await found(known, make_message()) is None
    assert not known.may_know(make_message())


@pytest.mark.parametrize(
    "change",
    [
        {"user": "other@example.com"},
        {"mail_from": "x@a.example"},
        {"rcpt_tos": ("other@b.example",)},
        {"content": b"Subject: hallo\r\nFrom: sender@a.example\r\n\r\nHello.\r\n"},
    ],
)
async def test_another_message_is_not(change: dict[str, object]) -> None:
    known = Doubts(VirtualClock())
    known.unheard(make_message(), for_s=HOUR)
    assert await found(known, make_message(**change)) is None
    assert await found(known, make_message()) is not None


async def test_an_identical_message_waits_for_the_one_whose_client_has_gone() -> None:
    known = Doubts(VirtualClock())
    first = make_message(id="first")
    known.left(first)
    known.left(first)  # told twice
    asking = asyncio.create_task(known.find(make_message(id="second")))
    other = make_message(mail_from="sender@c.example")  # of the same size
    assert known.may_know(other)
    assert await known.find(other) is None
    assert not asking.done()
    known.ended(first)
    known.unheard(first, for_s=HOUR)
    doubt = await asking
    assert doubt is not None
    assert doubt.id == "first"


@pytest.mark.parametrize("whom", ["a message without its client", "a neighbour's", "what is noted"])
async def test_who_asks_while_there_is_anything_to_wait_for_knows_it(whom: str) -> None:
    known = Doubts(VirtualClock())
    first = make_message(id="first")
    assert known.is_settled(first)
    if whom == "what is noted":
        known.unheard(first, for_s=HOUR)
    elif whom == "a neighbour's":
        known.hear({"left": first.id, "user": first.user, "size": first.size, "key": "any"}, 1)
    else:
        known.left(first)
    assert not known.is_settled(make_message(id="second"))
    await known.close()


async def test_nobody_waits_for_a_message_whose_end_is_known() -> None:
    known = Doubts(VirtualClock())
    known.left(make_message(id="first"))
    known.ended(make_message(id="first"))
    assert not known.may_know(make_message())


async def test_a_message_does_not_wait_for_itself() -> None:
    known = Doubts(VirtualClock())
    message = make_message()
    known.left(message)
    assert await known.find(message) is None


async def test_it_is_taken_once() -> None:
    known = Doubts(VirtualClock())
    known.unheard(make_message(), for_s=HOUR)
    doubt = await found(known, make_message())
    assert doubt is not None
    assert [await known.take(doubt), await known.take(doubt)] == [True, False]
    assert not known.may_know(make_message())


async def test_the_last_word_about_a_message_counts() -> None:
    known = Doubts(VirtualClock())
    known.in_doubt(make_message(id="1"), ["a"], IN_DOUBT, for_s=HOUR)
    before = await found(known, make_message())
    assert before is not None
    known.unheard(make_message(id="2"), for_s=HOUR)
    last = await found(known, make_message())
    assert last is not None
    assert (last.kind, last.id) == (Kind.UNHEARD, "2")
    assert not await known.take(before)
    assert await known.take(last)
    assert not known.may_know(make_message())


@pytest.mark.parametrize(
    ("reply", "is_found"),
    [(IN_DOUBT, True), (None, True), (ACCEPTED, False)],
    ids=["451", "none", "250"],
)
async def test_a_message_in_doubt_is_remembered_unless_its_client_is_content(
    reply: object, *, is_found: bool, caplog: pytest.LogCaptureFixture
) -> None:
    known = Doubts(VirtualClock())
    known.in_doubt(make_message(), ["a", "b"], reply, for_s=HOUR)  # type: ignore[arg-type]
    doubt = await found(known, make_message())
    assert (doubt is not None) is is_found
    if doubt:
        assert (doubt.kind, doubt.downstream) == (Kind.IN_DOUBT, "b")
    assert records(caplog, "in doubt")[0]["code"] == getattr(reply, "code", None)
    assert known.counts.in_doubt == 1


async def test_what_is_in_doubt_is_logged_with_its_fingerprint(caplog: pytest.LogCaptureFixture) -> None:
    known = Doubts(VirtualClock())
    content = b"Message-ID: <%b@a.example>\r\n\r\nprivate\r\n" % (b"x" * 500)
    message = make_message(content=content, rcpt_tos=tuple(f"{n}@b.example" for n in range(1000)))
    known.in_doubt(message, ["a"], IN_DOUBT, for_s=HOUR)
    await known.close()
    (line,) = records(caplog, "in doubt")
    assert line["message_id"] == f"<{'x' * 500}@a.example>"[:200]
    assert line["rcpt_tos"].split() == [f"{n}@b.example" for n in range(20)]
    assert (line["recipients"], line["count"]) == (1000, 1)
    assert {len(line["fingerprint"]), len(line["digest"])} == {64}
    assert "private" not in str(line)


async def test_big_messages_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "AT_ONCE_OCTETS", 10)
    known = Doubts(VirtualClock())
    known.unheard(make_message(), for_s=HOUR)
    assert known.may_know(make_message())  # already, so that nobody passes by meanwhile
    assert await found(known, make_message()) is not None
    await known.close()


async def test_no_more_are_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KEPT", 3)
    known = Doubts(VirtualClock())
    messages = [make_message(mail_from=f"{number}@a.example") for number in range(5)]
    for message in messages:
        known.unheard(message, for_s=HOUR)
    assert [await known.find(message) is not None for message in messages] == [False] * 2 + [True] * 3


# The book.


async def test_they_outlive_the_process(tmp_path: Path) -> None:
    clock = VirtualClock()
    state = StateFile(tmp_path / "state.db")
    before = Doubts(clock, DoubtBook(state))
    before.unheard(make_message(id="1"), for_s=60)
    before.unheard(make_message(mail_from=""), for_s=1)
    await before.close()
    clock.advance(2)
    book = DoubtBook(StateFile(tmp_path / "state.db"))
    after = Doubts(clock, book, book.load(clock.wall().timestamp()))
    doubt = await found(after, make_message())
    assert doubt is not None
    assert doubt.id == "1"
    assert await found(after, make_message(mail_from="")) is None
    clock.advance(58)
    assert await found(after, make_message()) is None


async def test_what_was_taken_is_not_found_after_a_restart_nor_by_another_process(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    one = Doubts(clock, DoubtBook(StateFile(tmp_path / "state.db")))
    one.unheard(make_message(), for_s=60)
    await one.close()
    book = DoubtBook(StateFile(tmp_path / "state.db"))
    other = Doubts(clock, book, book.load(clock.wall().timestamp()))
    doubt, same = await found(one, make_message()), await found(other, make_message())
    assert doubt is not None
    assert same is not None
    assert await one.take(doubt)
    assert not await other.take(same)
    assert book.load(clock.wall().timestamp()) == []


async def test_a_clock_that_is_set_does_not_matter_to_what_is_in_memory() -> None:
    clock = VirtualClock()
    known = Doubts(clock)
    known.unheard(make_message(), for_s=60)
    assert await found(known, make_message()) is not None
    clock.wall_is_off_s = 7200
    assert await found(known, make_message()) is not None
    clock.wall_is_off_s = -7200
    clock.advance(60)
    assert await found(known, make_message()) is None


async def test_a_book_that_cannot_be_written_costs_nothing_but_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    book = Book()
    book.fails = True
    known = Doubts(VirtualClock(), book)
    known.unheard(make_message(), for_s=60)
    known.in_doubt(make_message(mail_from=""), ["a"], IN_DOUBT, for_s=60)
    doubt = await found(known, make_message())
    assert doubt is not None
    assert await known.take(doubt)  # it is not in the book, so nobody will find it there
    assert failures(caplog) == ["state file cannot be used, what is in doubt is kept in memory"]
    book.fails = False
    known.unheard(make_message(), for_s=60)
    await known.close()
    assert len(records(caplog, "state file works again")) == 1
    assert len(book.rows) == 1


async def test_what_cannot_be_struck_off_the_book_is_not_spoken_for_but_struck_off_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book()
    known = Doubts(VirtualClock(), book)
    known.unheard(make_message(), for_s=60)
    doubt = await found(known, make_message())
    assert doubt is not None
    book.fails = True
    assert not await known.take(doubt)
    assert len(failures(caplog)) == 1
    assert len(book.rows) == 1
    book.fails = False
    known.in_doubt(make_message(mail_from=""), ["a"], IN_DOUBT, for_s=60)
    await known.close()
    assert [one.kind for one in book.rows.values()] == [Kind.IN_DOUBT]


async def test_what_is_taken_while_it_is_being_written_does_not_stay_in_the_book() -> None:
    class Slow(Book):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def add(self, doubt: Doubt) -> None:
            await self.go_on.wait()
            await super().add(doubt)

    book, clock = Slow(), VirtualClock()
    kept = memory.Memory(clock, book, [])
    known = Doubts(clock)
    known.unheard(make_message(), for_s=60)
    doubt = await found(known, make_message())
    assert doubt is not None
    writing = asyncio.create_task(kept.put(doubt, for_s=60))
    while not kept.outlines:  # noqa: ASYNC110 - a turn of the loop
        await asyncio.sleep(0)
    assert await kept.take(doubt)
    book.go_on.set()
    await writing
    assert book.rows == {}
