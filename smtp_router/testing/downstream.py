"""A downstream SMTP server that does as a script says, and records what it hears."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from smtp_router.testing.conversation import Conversation
from smtp_router.testing.door import HOST, Door
from smtp_router.testing.loop import LoopThread
from smtp_router.testing.records import Record
from smtp_router.testing.steps import Close, Hang, Prompter, Reset, Say, Script, Step
from smtp_router.testing.wire import GoneError, Wire, linger_no_time

EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 104857600", "ENHANCEDSTATUSCODES")


class ScriptedDownstream(Record):
    """A downstream that behaves as told, on a free port of 127.0.0.1.

    `with` runs it in a thread of its own; `async with` on the running event loop, where hundreds of them
    are cheap. Leaving the block closes all connections. Records may be read from any thread.

    Args:
        script: what to do at which stage; where it says nothing, all goes well. Several scripts: one for
            each connection, the last one for all that follow.
        name: what it calls itself.
        login: the user and password that it wants; none: no AUTH is offered.
        tls: its certificate; offered by STARTTLS, unless `implicit_tls`.
        implicit_tls: whether TLS comes first (RFC 8314).
        extensions: what it offers beside STARTTLS and AUTH.

    Raises:
        ValueError: the script names no stage, or a step that makes no sense there.
    """

    def __init__(
        self,
        script: Script | Sequence[Script] = (),
        *,
        name: str = "downstream.example",
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        if implicit_tls and tls is None:
            raise ValueError("implicit_tls needs tls")
        super().__init__()
        self.name = name
        self.login = login
        self.extensions: tuple[str, ...] = tuple(extensions)
        self.port: int = 0
        """Where it listens, once it does; it stays the same over `kill` and `revive`."""
        self.connections: int = 0
        """How many connections were made."""
        self._tls, self._implicit_tls = tls, implicit_tls
        self._prompters: list[Prompter] = []
        self._wires: set[Wire] = set()
        self._fresh: set[socket.socket] = set()
        self._unheard: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hanging: set[Wire] = set()
        self._is_dead = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: LoopThread | None = None
        self._door: Door | None = None
        self._take_script(script)

    # Running.

    def __enter__(self) -> Self:
        self._thread = LoopThread(f"downstream {self.name}")
        self._thread.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        try:
            self._thread.run(self._stop())
        finally:
            self._thread.close()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    def __repr__(self) -> str:
        state = f"{len(self.messages)} messages, {self.open_now} of {self.connections} connections open"
        return f"<ScriptedDownstream {self.name} {self.addr}: {state}; {self.heard[-5:]}>"

    @property
    def addr(self) -> str:
        """Where it listens, as a configuration has it: `HOST:PORT`."""
        return f"{HOST}:{self.port}"

    def follow(self, script: Script | Sequence[Script]) -> None:
        """Follow another script from now on, also on connections that are open."""
        self._do(lambda: self._take_script(script))

    def release(self) -> None:
        """Close the connections that hang now."""
        self._do(self._release)

    def kill(self) -> None:
        """Be gone, as a killed process is: connections are reset, new ones refused."""
        self._do(self._kill)

    def revive(self) -> None:
        """Listen again, on the same port."""
        self._do(self._revive)

    @property
    def open_now(self) -> int:
        """How many connections are open."""
        return len(self._wires)

    @property
    def hanging(self) -> int:
        """How many connections hang, as a script has it."""
        return len(self._hanging)

    # For conversations.

    def next_step(self, connection: int, stage: str, detail: str = "") -> Step:
        """Take the next step of the script that a connection follows."""
        return self._prompter(connection).next(stage, detail)

    async def hangs(self, wire: Wire) -> None:
        """Wait until the peer is gone, or nobody wants it to hang any more."""
        with self.news():
            self._hanging.add(wire)
        await wire.gone.wait()
        with self.news():
            self._hanging.discard(wire)

    @property
    def starttls_is_offered(self) -> bool:
        """Whether TLS comes on demand."""
        return self._tls is not None and not self._implicit_tls

    async def shake_hands(self, connection: int, wire: Wire) -> None:
        """Do the TLS handshake, or whatever the script says in its place."""
        step = self.next_step(connection, "handshake")
        match step:
            case Hang():
                await self.hangs(wire)
            case Reset():
                wire.reset()
            case Close():
                wire.transport.close()
            case Say(octets):
                wire.write(octets)
                await wire.part()
            case _:
                assert self._tls is not None
                await wire.encrypt(self._tls)
                return
        raise GoneError

    # Inside, on the event loop.

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._door = Door(self._welcome)
        self.port = self._door.port
        self._set_door()

    async def _stop(self) -> None:
        assert self._door is not None
        self._door.leave()
        self._door = None
        self._cut_off()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _set_door(self) -> None:
        if self._door is None:
            return
        if self._is_dead or self._prompter(self.connections + 1).refuses:
            self._door.shut()
        else:
            self._door.open()

    def _take_script(self, script: Script | Sequence[Script]) -> None:
        scripts = [script] if isinstance(script, Mapping) else list(script)
        self._prompters = [Prompter(one) for one in scripts or [{}]]
        self._set_door()

    def _prompter(self, connection: int) -> Prompter:
        return self._prompters[min(connection, len(self._prompters)) - 1]

    def _release(self) -> None:
        _close(self._unheard)
        for wire in self._hanging:
            wire.transport.abort()

    def _kill(self) -> None:
        self._is_dead = True
        self._set_door()
        self._cut_off()

    def _revive(self) -> None:
        self._is_dead = False
        self._set_door()

    def _cut_off(self) -> None:
        _close(self._fresh)
        _close(self._unheard)
        for task in self._tasks:
            task.cancel()
        for wire in self._wires:
            wire.reset()

    def _welcome(self, sock: socket.socket) -> None:
        with self.news():
            self.connections += 1
        step = self.next_step(self.connections, "accept")
        self._set_door()
        match step:
            case Close():
                sock.close()
            case Reset():
                linger_no_time(sock)
                sock.close()
            case Hang():
                self._unheard.add(sock)
            case _:
                self._fresh.add(sock)
                task = asyncio.ensure_future(self._serve(sock, self.connections))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, connection: int) -> None:
        wire = Wire(paused=self._implicit_tls)
        self._fresh.discard(sock)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: wire, sock)
        except OSError:
            sock.close()
            return
        with self.news():
            self._wires.add(wire)
        try:
            if self._implicit_tls:
                wire.transport.resume_reading()
                await self.shake_hands(connection, wire)
            await Conversation(self, wire, connection, encrypted=self._implicit_tls).run()
        except GoneError:
            pass  # peers that vanish are what tests are about
        finally:
            wire.transport.close()
            with self.news():
                self._wires.discard(wire)

    def _do(self, change: Callable[[], None]) -> None:
        """Make a change on the event loop, from whatever thread."""
        if self._loop is None or self._thread is None:
            change()
            return

        async def do() -> None:
            change()

        self._thread.run(do())


def _close(sockets: set[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()
