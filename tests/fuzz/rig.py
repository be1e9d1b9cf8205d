r"""Real sessions without sockets: octets in, replies and messages out, the same on every run.

    with rig() as lab:
        meeting = lab.meet(SETTINGS)
        meeting.say([b"EHLO client.example\r\n", b"NO", b"OP\r\n"])
        trace = meeting.end()

`_open_session` is the only place that knows how a session is made.
"""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from smtp_router import Message, Reply
from smtp_router.config.reading import validated
from smtp_router.config.settings import Settings
from smtp_router.credentials import SCRAM, Verifier, verifier_of
from smtp_router.smtp.register import Register
from smtp_router.smtp.session import ClientSession, session_class
from tests.fuzz.memory import Pipe, VirtualLoop, virtual_time
from tests.fuzz.transcript import read_replies
from tests.rawclient import RawReply
from tests.site import OpenSite

USER, PASSWORD = "user@app.example", "open sesame"
RESPONSE = b64encode(f"\0{USER}\0{PASSWORD}".encode())
"""What most clients say with AUTH PLAIN."""
BUSY_SENDER, BAD_SENDER = "busy@a.example", "bad@a.example"
"""Whose messages are deferred and rejected; everybody else's are taken."""
VERIFIER = verifier_of(  # of PASSWORD
    "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
    "1/EzXS3OqCns67BLcFAMTcM3g3L9iULFTSU1b/011MQ=:afcBkZL2CW3tVgWcJpfJHTLzXz0UoeyEnogu2seC8wU="
)


def make_settings(**more: Any) -> Settings:  # noqa: ANN401 - any field of the class
    """Settings with one user, patience, and room for one connection: one not counted off would show."""
    user = {
        "email": USER,
        "password": PASSWORD,
        "algorithm": "failover",
        "downstreams": [{"addr": "b.example:25"}],
    }
    return validated(
        Settings,
        {
            "hostname": "router.example",
            "users": [user],
            "max_connections": 1,
            "idle_s": 86_400,
            "min_upload_bytes_per_s": 1,
            **more,
        },
    )


class Keeper(OpenSite):
    """Keeps the messages; logins and deliveries take virtual time, or do not even wait."""

    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN", SCRAM)

    def __init__(self, settings: Settings, takes_s: float) -> None:
        super().__init__(settings)
        self.messages: list[Message] = []
        self._takes_s = takes_s

    def known(self, response: bytes) -> str | None:
        return USER if not self._takes_s and response == RESPONSE else None

    async def authenticate(self, login: str, password: str) -> bool:
        await self._work()
        return self._is_right(login, password)

    async def scram_verifier(self, login: str) -> Verifier:
        del login
        await self._work()
        return VERIFIER

    async def route(self, message: Message) -> Reply:
        self.messages.append(message)
        await self._work()
        match message.mail_from:
            case sender if sender == BUSY_SENDER:
                return Reply(code=450, enhanced="4.2.1", text=message.id)
            case sender if sender == BAD_SENDER:
                return Reply(code=550, enhanced="5.7.1", text=message.id)
        return Reply(code=250, enhanced="2.6.0", text=message.id)

    def new_id(self) -> str:
        return f"message-{len(self.messages) + 1}"

    @staticmethod
    def _is_right(login: str, password: str) -> bool:
        return (login, password) == (USER, PASSWORD)

    async def _work(self) -> None:
        if self._takes_s:
            await asyncio.sleep(self._takes_s)


@dataclass(frozen=True, slots=True)
class Trace:
    """What came of a session.

    Args:
        replies: all of them, the banner first.
        messages: what was routed.
        parted: whether it was the session that closed the connection.
        marks: behind each segment, the octets sent and the octets heard so far.
    """

    replies: tuple[RawReply, ...]
    messages: tuple[Message, ...]
    parted: bool
    marks: tuple[tuple[int, int], ...]


class Meeting:
    """One client and its session."""

    def __init__(
        self, lab: "Rig", settings: Settings, *, takes_s: float, high_water: int | None
    ) -> None:
        self.keeper = Keeper(settings, takes_s)
        self._lab = lab
        self._sent = 0
        self._marks: list[tuple[int, int]] = []
        session, self._register = _open_session(self.keeper, lab.loop)
        self.pipe = Pipe(lab.loop, session, high_water=high_water)
        lab.loop.settle()

    def say(self, segments: Iterable[bytes], *, pause_s: float | None = 0.0) -> None:
        """Send segments, each as soon as the session reads.

        Args:
            segments: the octets.
            pause_s: virtual time behind each; `None`: not even the event loop has a turn.
        """
        for segment in segments:
            if not self.pipe.is_reading():
                self.wait()
            if self.pipe.is_closing():
                break
            self.pipe.send(segment)
            self._sent += len(segment)
            if pause_s is not None:
                self._lab.loop.settle(pause_s)
            self._marks.append((self._sent, len(self.pipe.heard)))
        self._lab.loop.settle()

    def wait(self) -> None:
        """Until every login and delivery is done, and every reply read."""
        self._lab.loop.finish()
        while self.pipe.unread:
            self.pipe.read()
            self._lab.loop.finish()
        self._lab.check()
        assert self.pipe.is_reading() or self.pipe.is_closing(), "never read from again"

    def end(self) -> Trace:
        """Wait, and send no more; see that nothing is left of the session."""
        self.wait()
        parted = self.pipe.is_closing()
        self.pipe.shut_down()
        self.check_gone()
        replies = read_replies(bytes(self.pipe.heard))
        return Trace(replies, tuple(self.keeper.messages), parted, tuple(self._marks))

    def check_gone(self) -> None:
        """See that nothing is left of a session whose connection is closed."""
        self._lab.loop.finish()
        self._lab.check()
        assert self.pipe.lost
        assert not list(self._register), "still in the register"
        assert self.keeper.guard.connected("127.0.0.1", 0) is None, "not counted off"
        assert not asyncio.all_tasks(self._lab.loop)


class Rig:
    """Where sessions and clients meet."""

    def __init__(self, loop: VirtualLoop, errors: list[str]) -> None:
        self.loop = loop
        self._errors = errors
        self._meeting: Meeting | None = None

    def meet(
        self, settings: Settings, *, takes_s: float = 0.0, high_water: int | None = None
    ) -> Meeting:
        """A client connects.

        Args:
            settings: of the router.
            takes_s: how long a login or a delivery takes.
            high_water: how many octets of replies may be unread before the session has to wait; `None`:
                the client reads them at once.
        """
        self.part()
        self.loop.rewind()
        self._meeting = Meeting(self, settings, takes_s=takes_s, high_water=high_water)
        return self._meeting

    def part(self) -> None:
        """End the last meeting, if a failed test has left it."""
        if self._meeting and not self._meeting.pipe.lost:
            self._meeting.pipe.reset()
            self.loop.finish()
        self._meeting = None

    def check(self) -> None:
        """See that no exception got anywhere: into a log, a task or a callback."""
        assert not self.loop.faults, self.loop.faults
        assert not self._errors, self._errors


@contextmanager
def rig() -> Iterator[Rig]:
    """A rig; when it is taken down, no task may be left."""
    errors: list[str] = []
    handler = _Errors(errors)
    logging.getLogger().addHandler(handler)
    try:
        with virtual_time() as loop:
            lab = Rig(loop, errors)
            try:
                yield lab
            finally:
                lab.part()
    finally:
        logging.getLogger().removeHandler(handler)


class _Errors(logging.Handler):
    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(self.format(record))


def _open_session(keeper: Keeper, loop: VirtualLoop) -> tuple[ClientSession, Register[ClientSession]]:
    """A session as a listener makes it, and the register it is in while it is open."""
    register: Register[ClientSession] = Register(loop, lambda: keeper.settings.idle_s)
    made = session_class(keeper, keeper.settings.listen[0], context=None, register=register, loop=loop)
    return made(), register
