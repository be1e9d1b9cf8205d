"""A log that cannot be written: the mail goes on, and what is missing is counted."""

import asyncio
import errno
import io
import logging
import resource
import signal
import time
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.cli.journals import _MOST_KNOWN, JSON, TEXT, FastJournal, Form, QuickJournal
from smtp_router.cli.logs import Lines, LinesHandler, journal_of, json_line, text_line
from smtp_router.cli.words import Format
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Deferred, Delivered, Stage
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from tests.cli.test_systemd import READY, Systemd
from tests.e2e.test_faults import HELLO, A, B
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER, Program, _Running, one_user
from tests.support import make_attempt, make_message
from tests.witness import Witness


class FullDisk(io.StringIO):
    """A stream whose disk may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_cannot_be_written_is_counted_and_nothing_is_raised() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    disk = FullDisk()
    lines = Lines(disk, text_line, pause_s=0)
    journal = FastJournal(lines.write, text_line, logging.INFO)
    handler = LinesHandler(lines, text_line)
    journal.write(logging.INFO, "first", {})
    await turns()
    disk.is_full = True
    for _ in range(2):
        journal.write(logging.INFO, "lost", {})
        handler.emit(logging.makeLogRecord({"msg": "lost", "levelno": logging.INFO}))
        await turns()
    disk.is_full = False
    journal.write(logging.INFO, "last", {})
    await turns()
    journal.write(logging.INFO, "very last", {})
    await turns()
    events = [line.split(" ", 1)[1].lstrip() for line in disk.getvalue().splitlines()]
    assert events == [
        "info    first",
        "warning log could not be written lines=4",
        "info    last",
        "info    very last",
    ]
    assert not faults


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="takes Linux")
def test_a_disk_that_is_full_of_log_keeps_no_mail_from_its_way(tmp_path: Path) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    log = tmp_path / "log"
    with Witness() as witness:
        file = _Running(one_user(witness), tmp_path).file
        arguments = ("serve", "-c", str(file))
        with Program(*arguments, cwd=tmp_path, env=systemd.env, redirect=f"2>{log}") as program:
            assert systemd.hear() == READY
            program.signal(signal.SIGHUP)
            assert "RELOADING=1" in systemd.hear()  # some turns later, the log is written
            port = int(log.read_text().rpartition("listening on 127.0.0.1:")[2].split()[0])
            process, limit = program.process.pid, resource.RLIMIT_FSIZE
            _, most = resource.prlimit(process, limit)
            full = log.stat().st_size
            for size in (
                full,
                full,
                most,
            ):  # when the second is answered, the log has failed for the first
                resource.prlimit(process, limit, (size, most))
                with RawClient("127.0.0.1", port) as client:
                    assert client.command(b"EHLO client.example").code == 250
                    assert client.login(USER, PASSWORD).code == 235
                    assert client.envelope(A, [B]).code == 250
                    client.wire(HELLO + b".\r\n")
                    assert client.reply().code == 250
            program.signal(signal.SIGTERM)
            assert program.ended() == 0
        assert len(witness.deliveries) == 3
    systemd.close()
    text = log.read_text()
    assert text.count("outcome=delivered") >= 2  # the attempt and the message of the second one
    assert "log could not be written lines=" in text


WORDS = st.text() | st.just("\ud800") | st.text('ab1@.=<>{}"\\` ', min_size=1)
REPLIES = st.none() | st.builds(Reply, code=st.sampled_from((250, 450)), text=WORDS)
OUTCOMES = st.builds(
    Delivered,
    stage=st.sampled_from((Stage.FINAL, Stage.DATA)),
    reply=REPLIES,
    reason=st.just("") | WORDS,
) | st.builds(Deferred, stage=st.sampled_from(Stage), reply=REPLIES, reason=WORDS)
ATTEMPTS = st.builds(
    Attempt,
    downstream=st.builds(Downstream, name=WORDS, host=st.just("h"), port=st.just(25)),
    outcome=OUTCOMES,
    seconds=st.floats(0, 1e6),
)
MESSAGES = st.builds(
    make_message,
    id=st.text("0af", min_size=1),
    user=WORDS,
    mail_from=WORDS,
    rcpt_tos=st.lists(st.just("b@example.net"), max_size=3).map(tuple),
)


class Told(NamedTuple):
    """A message, as the plugins left it, and what became of it."""

    message: Message
    outgoing: Message
    attempts: list[Attempt]
    reply: Reply | None
    canary: str
    seconds: float

    def traced(self) -> Trace:
        trace = Trace(self.message)
        trace.attempts, trace.reply, trace.canary = self.attempts, self.reply, self.canary
        return trace


INSTANTS = st.floats(0, 4e9) | st.integers(0, 4 * 10**12).map(lambda number: number / 1000)
TOLD = st.builds(
    Told,
    message=MESSAGES,
    outgoing=MESSAGES,
    attempts=st.lists(ATTEMPTS, max_size=3),
    reply=REPLIES,
    canary=st.just("") | WORDS,
    seconds=INSTANTS,
)
TAKEN = st.builds(
    Reply, code=st.sampled_from((250, 250, 251)), enhanced=st.sampled_from(("", "2.0.0")), text=WORDS
)
USUAL = st.builds(
    Told,
    message=st.builds(make_message, id=st.just("a1"), mail_from=WORDS),
    outgoing=st.builds(make_message, mail_from=WORDS),
    attempts=st.lists(
        st.builds(
            make_attempt,
            st.sampled_from("ab"),
            st.builds(Delivered, reply=TAKEN, reason=st.sampled_from(("", "why"))) | OUTCOMES,
            seconds=INSTANTS,
        ),
        min_size=1,
        max_size=2,
    ),
    reply=TAKEN,
    canary=st.sampled_from(("", "", "c")),
    seconds=st.floats(0, 1),
)
"""Most of it is mail that was delivered."""


FORMS = ((text_line, TEXT), (json_line, JSON))


@given(st.lists(st.tuples(TOLD | USUAL, INSTANTS), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_quick_lines_are_those_that_are_made_word_by_word(
    several: list[tuple[Told, float]],
    unchanged: bool,  # noqa: FBT001 - hypothesis gives it
    mixed: bool,  # noqa: FBT001 - as above
) -> None:
    assert_alike(sorted(several, key=itemgetter(1)), unchanged=unchanged, mixed=mixed)


def assert_alike(several: list[tuple[Told, float]], *, unchanged: bool, mixed: bool) -> None:
    """See that quick lines of both forms are those that are made word by word, as time goes by."""
    now = 0.0
    quick, slow = list[str](), list[str]()
    journals = [
        journal
        for as_line, form in FORMS
        for journal in (
            FastJournal(slow.append, as_line, logging.INFO, lambda: now),
            QuickJournal(quick.append, as_line, form, lambda: now),
        )
    ]
    for told, now in several:
        for journal in journals:
            for attempt in told.attempts:
                outgoing = told.message if unchanged else told.outgoing
                journal.attempt(told.message, outgoing, attempt, now)
            if not mixed:
                journal.message(told.message, told.traced(), told.seconds, now)
    for told, _ in several if mixed else ():
        for journal in journals:
            journal.message(told.message, told.traced(), told.seconds, now)
    assert quick == slow


@pytest.mark.parametrize("text", ["", "Ok", "queued as 1", 'as "1"', '"', "as \\1", "\\", 'a\\"b'])
@pytest.mark.parametrize("enhanced", ["", "2.0.0"])
@pytest.mark.parametrize("code", [250, 251])
def test_any_reply_and_any_sender_are_in_quick_lines(code: int, enhanced: str, text: str) -> None:
    reply = Reply(code=code, enhanced=enhanced, text=text)
    for seconds in (0.0, 0.01234, 0.00995, 0.1, 1.0, 12.34567):
        told = delivered_to("a")._replace(reply=reply, seconds=seconds)
        attempt = Attempt(
            downstream=told.attempts[0].downstream, outcome=Delivered(reply=reply), seconds=seconds
        )
        told = told._replace(
            attempts=[attempt], outgoing=told.message.replace(mail_from="b@example.com", id="b")
        )
        assert_alike([(told, 1.0)], unchanged=False, mixed=False)


def test_each_line_counts_its_own_recipients() -> None:
    told = delivered_to("a")
    fewer = told.message.replace(rcpt_tos=told.message.rcpt_tos[:1])
    more = told.message.replace(rcpt_tos=("b@example.net", "c@example.net"))
    several = [
        told._replace(message=one, outgoing=two) for one in (fewer, more) for two in (fewer, more)
    ]
    assert_alike([(one, 1.0) for one in several], unchanged=False, mixed=False)
    assert_alike([(one, 1.0) for one in several], unchanged=False, mixed=True)


@given(
    st.integers(0, 4 * 10**12).map(lambda number: number / 1000) | st.floats(0, 4e9),
    st.lists(st.integers(0, 2200).map(lambda number: number / 1e6), min_size=1, max_size=9),
    st.floats(0, 1e7),
)
def test_lines_say_the_millisecond_whichever_clock_the_router_goes_by(
    wall: float, pauses: list[float], began: float
) -> None:
    told = delivered_to("a")
    quick, slow = list[str](), list[str]()
    journals = (
        FastJournal(slow.append, text_line, logging.INFO, lambda: wall + passed),
        QuickJournal(quick.append, text_line, TEXT, lambda: wall + passed),
    )
    for passed in accumulate(pauses):
        for journal in journals:
            journal.attempt(told.message, told.outgoing, told.attempts[0], began + passed)
    assert quick == slow


def test_a_clock_that_is_set_back_is_seen_a_millisecond_later() -> None:
    wall = 86_400.0
    lines: list[str] = []
    journal = QuickJournal(lines.append, text_line, TEXT, lambda: wall)
    told = delivered_to("a")
    journal.attempt(told.message, told.outgoing, told.attempts[0], 1.0)
    wall = 3600.0
    journal.message(told.message, told.traced(), told.seconds, 1.001)
    assert [line.split()[0] for line in lines] == [
        "1970-01-02T00:00:00.000Z",
        "1970-01-01T01:00:00.000Z",
    ]


def no_line(*_: object) -> str:
    """Makes lines for whoever needs none made."""
    raise AssertionError


def delivered_to(name: str, mail_from: str = "a@example.com") -> Told:
    message = make_message(id="0a1b", mail_from=mail_from)
    outcome = Delivered(reply=Reply(code=250, text="Ok"))
    attempt = Attempt(downstream=Downstream(name=name, host="h", port=25), outcome=outcome, seconds=0.1)
    reply = Reply(code=250, enhanced="2.0.0", text="Delivered")
    return Told(message, message, [attempt], reply, "", 0.1)


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_mail_that_was_delivered_has_quick_lines(form: Form) -> None:
    lines: list[str] = []
    journal = QuickJournal(lines.append, no_line, form)
    told = delivered_to("a")
    for attempt in told.attempts:
        journal.attempt(told.message, told.outgoing, attempt, 0.0)
    journal.message(told.message, told.traced(), told.seconds, 0.0)
    assert len(lines) == 2


@pytest.mark.parametrize("as_line", [text_line, json_line])
def test_a_trace_is_written_behind_its_message_at_debug_and_only_there(as_line: Format) -> None:
    told = delivered_to("a")
    lines: list[str] = []
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        journal_of(lines.append, as_line, level).message(told.message, told.traced(), told.seconds, 0.0)
    assert [event for line in lines for event in ("message", "trace") if event in line] == [
        *("message", "trace"),
        "message",
    ]


def test_senders_that_never_come_again_are_not_kept() -> None:
    lines: list[str] = []
    journal = QuickJournal(lines.append, no_line, TEXT)
    for number in range(3 * _MOST_KNOWN):
        told = delivered_to("a", f"bounce-{number}@example.com")
        journal.attempt(told.message, told.outgoing, told.attempts[0], 0.0)
        assert f" mail_from=bounce-{number}@example.com " in lines[-1]
        assert len(journal._known) <= _MOST_KNOWN  # noqa: SLF001 - memory is what this is about


class Writes(io.StringIO):
    """A stream that knows each write; `all_there` is set with the last of so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.all_there = asyncio.Event()
        self._lines = lines

    def write(self, text: str) -> int:
        self.texts.append(text)
        if "".join(self.texts).count("\n") == self._lines:
            self.all_there.set()
        return len(text)


async def test_under_load_lines_wait_for_each_other_but_not_for_long() -> None:
    stream, pause_s = Writes(100), 0.02
    lines = Lines(stream, text_line, pause_s)
    began = time.monotonic()
    for number in range(100):
        lines.write(str(number))
        await turns()
    async with asyncio.timeout(10):
        await stream.all_there.wait()
    assert stream.texts[0] == "0\n"  # nobody who looks at a quiet router waits
    assert "".join(stream.texts).split() == [str(number) for number in range(100)]
    assert len(stream.texts) <= 2 + (time.monotonic() - began) / pause_s
