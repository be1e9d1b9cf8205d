"""Sessions over real sockets, with somebody else behind them in place of the router."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import uvloop

from smtp_router import Message, Reply
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.config.types import HostPort
from smtp_router.core.clock import Clock
from smtp_router.smtp.guard import Guard
from smtp_router.smtp.listener import Listener
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER, WAIT_S, held, one_user
from tests.site import OpenSite
from tests.support import VirtualClock

TAKEN = Reply(code=250, enhanced="2.0.0", text="Taken")

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[Loop] = [asyncio.new_event_loop, uvloop.new_event_loop]


class Counts(Guard):
    """A guard that tells what it has counted, and waits for a count."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings, clock, max_files=10_000)
        self.sessions = 0
        self.octets = 0
        """Content in memory."""
        self.most_octets = 0
        self._changed = threading.Condition()

    def connected(self, address: str, descriptor: int) -> Reply | None:
        self._count(sessions=1)
        return super().connected(address, descriptor)

    def disconnected(self, address: str) -> None:
        super().disconnected(address)
        self._count(sessions=-1)

    def hold(self, octets: int) -> None:
        super().hold(octets)
        self._count(octets=octets)

    def wait(self, reached: Callable[[Self], bool]) -> None:
        """Wait until this is so."""
        with self._changed:
            done = self._changed.wait_for(lambda: reached(self), WAIT_S)
            assert done, f"{self.sessions} sessions, {self.octets} octets"

    def _count(self, *, sessions: int = 0, octets: int = 0) -> None:
        with self._changed:
            self.sessions += sessions
            self.octets += octets
            self.most_octets = max(self.most_octets, self.octets)
            self._changed.notify_all()


class Desk(OpenSite):
    """Where sessions hand their messages in: it keeps them, and answers as it is told."""

    def __init__(self, loop_factory: Loop = asyncio.new_event_loop, **more: object) -> None:
        text = json.dumps(one_user({"addr": "b.example:25"}, **more)).encode()
        super().__init__(parse(text, Path("config.yaml")).settings)
        self.clock = VirtualClock()
        self.guard = self.counts = Counts(self.settings, self.clock)
        self.messages: list[Message] = []
        self.answer: Callable[[Message], Reply] = lambda _: TAKEN
        self.port = 0
        self._loop_factory = loop_factory
        self._started: Future[Callable[[], object]] = Future()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, name="desk", daemon=True)

    async def authenticate(self, login: str, password: str) -> bool:
        if login == "fault":
            raise RuntimeError("secret detail")
        return (login, password) == (USER, PASSWORD)

    async def route(self, message: Message) -> Reply:
        self.messages.append(message)
        return await asyncio.to_thread(self.answer, message)

    def new_id(self) -> str:
        return f"message-{len(self.messages) + 1}"

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    def __enter__(self) -> Self:
        self._thread.start()
        self._stop = self._started.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._ended.result(10)
        self._thread.join(10)

    def connect(self, *, read_banner: bool = True) -> RawClient:
        return RawClient("127.0.0.1", self.port, read_banner=read_banner)

    def client(self) -> RawClient:
        """A client that has logged in."""
        client = self.connect()
        assert client.command(b"EHLO client.example").code == 250
        assert client.login(USER, PASSWORD).code == 235
        return client

    def change(self, **settings: object) -> None:
        """Change settings, as a reload does."""
        self.settings = replace(self.settings, **settings)  # type: ignore[arg-type]  # any of them
        self.guard.follow(self.settings)

    def held(self) -> AbstractContextManager[None]:
        """Keep it from doing anything: when it goes on, all that clients did has come."""
        return held(self.loop)

    def drain(self) -> None:
        """Begin to stop, as a router does."""
        self.loop.call_soon_threadsafe(self._listener.stop)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._listen())
            self._ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            (self._ended if self._started.done() else self._started).set_exception(error)

    async def _listen(self) -> None:
        listener = self._listener = Listener(self, self.settings.listen[0])
        address = await listener.start()
        assert isinstance(address, HostPort)
        self.port = address.port
        self.loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._started.set_result(lambda: self.loop.call_soon_threadsafe(stopping.set))
        await stopping.wait()
        listener.stop()
        listener.abort()
        await listener.drained()
        assert asyncio.all_tasks() == {asyncio.current_task()}
