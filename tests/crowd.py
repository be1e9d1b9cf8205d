"""Clients as MTAs are: many at once, each sends until it knows what became of its message.

Rules:
1. After a 4yz, a refused connection or a lost one, the same message is sent again.
2. What went wrong with a client's own session is counted: `errors`, unless a router that is gone may
   cost it its session (`forgives`).
"""

import asyncio
import base64
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Self

from smtp_router.testing.loop import LoopThread
from tests.ledgers import Ledgers, Sent
from tests.running import PASSWORD, USER

AGAIN_S: Final = 0.02
"""Pause before a message is sent again."""
PATIENCE_S: Final = 30.0
"""Longest that a client waits for anything."""
START_INPUT: Final = 354
REFUSED: Final = 400
CLOSING: Final = 421
BODY: Final = b"hello\r\n.\r\n..\r\n" + 10 * (70 * b"x" + b"\r\n")


class Crowd:
    """Clients that send all the time; to be run on one event loop."""

    def __init__(
        self,
        port: Callable[[], int],
        ledgers: Ledgers,
        *,
        clients: int,
        messages: int | None = None,
        forgives: bool = False,
        body: bytes = BODY,
        pause_s: float = 0.0,
    ) -> None:
        """Take where the router is, who it is, and how much is sent.

        Args:
            port: says where the router listens now.
            ledgers: where all is written.
            clients: how many there are.
            messages: how many they send in all; without: until `stop`.
            forgives: whether a session may be lost.
            body: of each message.
            pause_s: from one message of a client to its next, unless the first takes longer.
        """
        self.ledgers = ledgers
        self.answers: list[tuple[float, float]] = []
        """For each answer to a final dot: when MAIL was said (`time.monotonic()`), how long it took."""
        self.errors: list[str] = []
        self.lost_sessions = 0
        self.refusals: Counter[int] = Counter()
        """How often which answer came to MAIL, RCPT or DATA."""
        self._port, self._clients, self._forgives = port, clients, forgives
        self._login = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        self._body, self._pause_s = body, pause_s
        self._numbers: Iterator[int] = iter(range(messages)) if messages else itertools.count()
        self._is_stopping = False
        self._changed = threading.Condition()

    def wait_lost(self, sessions: int, seconds: float = PATIENCE_S) -> None:
        """Wait until so many sessions were lost."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.lost_sessions >= sessions, seconds)

    def stop(self) -> None:
        """Begin no more messages; those under way are sent until it is known what became of them."""
        self._is_stopping = True

    async def run(self) -> None:
        """Send."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._clients):
                tasks.create_task(self._client(self._pause_s * number / self._clients))

    async def _client(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + wait_s
        await asyncio.sleep(wait_s)
        with _Line(self._port, self._login) as line:
            for number in self._numbers:
                content = b"Subject: %d\r\n\r\n" % number + self._body
                await self._send(line, Sent(f"m{number}@a.example", _recipients(number), content))
                if self._is_stopping:
                    return
                due += self._pause_s  # not from now on: who once waited for the same would stay in step
                await asyncio.sleep(due - loop.time())

    async def _send(self, line: "_Line", sent: Sent) -> None:
        """Until it is known what became of it."""
        self.ledgers.sends(sent)
        while (code := await self._try(line, sent)) is None or 400 <= code < 500:  # noqa: ASYNC110
            await asyncio.sleep(AGAIN_S)  # it is nobody's event when a router works again

    async def _try(self, line: "_Line", sent: Sent) -> int | None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                code = await line.transaction(sent)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            if line.dot_is_out:
                self.ledgers.tells(sent.mail_from, None)
            line.close()
            with self._changed:
                self.lost_sessions += 1
                self._changed.notify_all()
            if not self._forgives or isinstance(error, ValueError | TimeoutError):
                self.errors.append(f"{sent.mail_from}: {error!r}")
            return None
        if line.dot_is_out:
            self.answers.append((began, time.monotonic() - began))
            self.ledgers.tells(sent.mail_from, code)
        else:
            self.refusals[code] += 1
        if code == CLOSING:
            line.close()
        return code


def _recipients(number: int) -> tuple[str, ...]:
    return tuple(f"r{number}.{each}@b.example" for each in range(1 + number % 3))


class _Line:
    """One client's connection to the router, which is opened again when it was closed."""

    def __init__(self, port: Callable[[], int], login: bytes) -> None:
        self._port, self._login = port, login
        self._session: _Session | None = None
        self.dot_is_out = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def transaction(self, sent: Sent) -> int:
        """Send a message; the first refusal, or the answer to the final dot."""
        self.dot_is_out = False
        if self._session is None:
            self._session = await _Session.open(self._port(), self._login)
        refusal = await self._session.envelope(sent)
        if refusal:
            return refusal
        self.dot_is_out = True
        return await self._session.content(sent.content)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class _Session:
    """One connection to the router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int, login: bytes) -> "_Session":
        session = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            for command, code in (
                (b"", 220),
                (b"EHLO c.example\r\n", 250),
                (b"AUTH PLAIN " + login + b"\r\n", 235),
            ):
                session._writer.write(command)
                answer = await session._reply()
                if answer == CLOSING:
                    raise ConnectionError("421")
                if answer != code:
                    raise ValueError(f"{answer} to {command[:5]!r}")
        except BaseException:
            session.close()
            raise
        return session

    async def envelope(self, sent: Sent) -> int:
        """Up to DATA, all in one; the first refusal, or 0."""
        rcpts = "".join(f"RCPT TO:<{address}>\r\n" for address in sent.rcpt_tos)
        self._writer.write(f"MAIL FROM:<{sent.mail_from}>\r\n{rcpts}DATA\r\n".encode())
        replies = []
        for _ in range(len(sent.rcpt_tos) + 2):
            replies.append(await self._reply())
            if replies[-1] == CLOSING:  # as after so many messages (LIMITS MAILMAX, RFC 9422)
                return CLOSING
        *codes, data = replies
        refusal = next((code for code in (*codes, data) if code >= REFUSED), 0)
        if refusal and data == START_INPUT:
            raise ValueError("content is wanted of a message that was refused")
        if refusal:
            self._writer.write(b"RSET\r\n")
            await self._reply()
        return refusal

    async def content(self, content: bytes) -> int:
        self._writer.write((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
        return await self._reply()

    def close(self) -> None:
        self._writer.close()

    async def _reply(self) -> int:
        while True:
            line = await self._reader.readline()
            if not line:
                raise EOFError("closed")
            if line[3:4] != b"-":
                return int(line[:3])


class CrowdThread:
    """A crowd in a thread of its own, while the test does things to the router."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self._thread = LoopThread("crowd")

    def __enter__(self) -> Crowd:
        self._running = asyncio.run_coroutine_threadsafe(self.crowd.run(), self._thread.loop)
        return self.crowd

    def __exit__(self, *_: object) -> None:
        try:
            self.crowd.stop()
            self._running.result(2 * PATIENCE_S)
        finally:
            self._running.cancel()
            self._thread.close()
