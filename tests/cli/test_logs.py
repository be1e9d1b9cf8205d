"""A log that cannot be written: the mail goes on, and what is missing is counted."""

import asyncio
import errno
import io
import logging
import resource
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.cli.logs import FastJournal, Lines, LinesHandler, text_line
from smtp_router.cli.quick_lines import QuickLines
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt, Deferred, Delivered, Stage
from smtp_router.core.reply import Reply
from smtp_router.core.trace import Trace
from smtp_router.routing.journal import Journal
from tests.cli.test_systemd import READY, Systemd
from tests.e2e.test_faults import HELLO, A, B
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER, Program, _Running, one_user
from tests.support import make_message
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
    lines = Lines(disk, text_line)
    journal = FastJournal(lines, text_line, logging.INFO)
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
    Delivered, stage=st.sampled_from((Stage.FINAL, Stage.DATA)), reply=REPLIES
) | st.builds(Deferred, stage=st.sampled_from(Stage), reply=REPLIES, reason=WORDS)
ATTEMPTS = st.builds(
    Attempt,
    downstream=st.builds(Downstream, name=WORDS, host=st.just("h"), port=st.just(25)),
    outcome=OUTCOMES,
    seconds=st.floats(0, 1e6),
)
MESSAGES = st.builds(make_message, id=WORDS, user=WORDS, mail_from=WORDS)


class Written(Journal):
    """What is written word by word."""

    def __init__(self, now: float) -> None:
        self.line = ""
        self._now = now

    def writes(self, level: int) -> bool:
        return level >= logging.INFO

    def write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        self.line = text_line(self._now, level, "", event, fields)


@given(
    st.tuples(MESSAGES, MESSAGES), st.lists(ATTEMPTS), REPLIES, WORDS | st.just(""), st.floats(0, 4e9)
)
def test_quick_lines_are_those_that_are_made_word_by_word(
    messages: tuple[Message, Message],
    attempts: list[Attempt],
    reply: Reply | None,
    canary: str,
    now: float,
) -> None:
    quick, slow = QuickLines(), Written(now)
    message, outgoing = messages
    for attempt in attempts:
        slow.attempt(message, outgoing, attempt)
        assert quick.attempt(now, message, outgoing, attempt) in (None, slow.line)
    trace = Trace(message)
    trace.attempts, trace.reply, trace.canary = attempts, reply, canary
    slow.message(message, trace, now / 7)
    assert quick.message(now, message, trace, now / 7) in (None, slow.line)


def test_mail_that_was_delivered_has_quick_lines() -> None:
    message = make_message()
    attempt = Attempt(
        downstream=Downstream(name="a", host="h", port=25),
        outcome=Delivered(reply=Reply(code=250, text="Ok")),
        seconds=0.1,
    )
    trace = Trace(message)
    trace.attempts, trace.reply = [attempt], Reply(code=250, enhanced="2.0.0", text="Delivered")
    assert QuickLines().attempt(0.0, message, message, attempt)
    assert QuickLines().message(0.0, message, trace, 0.1)
