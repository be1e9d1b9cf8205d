r"""A connection in memory, and time that passes only while everybody waits: no socket, no sleep.

    with virtual_time() as loop:
        pipe = Pipe(loop, protocol)     # the protocol hears `connection_made`
        pipe.send(b"NOOP\r\n")          # the client's octets, as one segment
        loop.settle()                   # until nobody has anything left to do
        pipe.heard                      # what the client was told

The loop is asyncio's own; only its clock and what it does when there is nothing to do are replaced, so
the same input always gives the same run.
"""

import asyncio
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LONG_S = 60.0
"""More than all the logins and deliveries of a session take here."""


class _Idle(selectors.SelectSelector):
    """Never waits: where the loop would, it says for how long."""

    def __init__(self, wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._wait(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only while there is nothing to do."""

    def __init__(self) -> None:
        self._now = 0.0
        self._until = 0.0
        self.faults: list[str] = []
        """What went wrong in a callback or in a task that nobody awaited."""
        self.nowhere = socket.socket()
        """A descriptor for those who want one; it is connected to nothing."""
        super().__init__(_Idle(self._wait))
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now

    def close(self) -> None:
        self.nowhere.close()
        super().close()

    def rewind(self) -> None:
        """Begin at zero again, as nobody waits: in a far future a float cannot tell instants apart."""
        self._now = 0.0

    def settle(self, seconds: float = 0.0) -> None:
        """Do all that there is to do at present and within so many seconds."""
        self._until = self._now + seconds
        self.run_forever()

    def finish(self) -> None:
        """Do all, and let time pass while a task waits: a client that waits as long hears every reply.

        A task that waits for the client is given up on.
        """
        self.settle()
        started = self._now
        while asyncio.all_tasks(self) and self._now - started < LONG_S:
            self.settle(1.0)

    def _wait(self, seconds: float | None) -> None:
        if seconds is None or self._now + seconds > self._until:
            self._now = self._until
            self.stop()
        else:
            self._now += seconds

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")


@contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A loop, current within the block; at its end no task may be left."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
        assert not asyncio.all_tasks(loop), asyncio.all_tasks(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class Pipe(asyncio.Transport):
    """Both ends of a connection: to the protocol a transport, to the test the client."""

    def __init__(
        self, loop: VirtualLoop, protocol: asyncio.Protocol, *, high_water: int | None = None
    ) -> None:
        """Connect.

        Args:
            loop: the protocol's.
            protocol: the server's side.
            high_water: with more unread octets, the protocol is told to pause; `None`: the client reads
                what it is told as soon as it is there.
        """
        super().__init__(
            {"peername": ("127.0.0.1", 54321), "sockname": ("127.0.0.1", 1025), "socket": loop.nowhere}
        )
        self.heard = bytearray()
        """All that the client was told."""
        self.unread = 0
        """Octets of it that the client has not read yet."""
        self.most_unread = 0
        """As many as there ever were."""
        self.lost = False
        """Whether the protocol knows that the connection is gone."""
        self._loop = loop
        self._protocol = protocol
        self._high_water = high_water
        self._reading = True
        self._closing = False
        self._writing_paused = False
        protocol.connection_made(self)

    # The client's end

    def send(self, octets: bytes) -> None:
        """A segment arrives; nothing does where nobody reads."""
        assert self._reading
        if octets and not self._closing:
            asyncio._set_running_loop(self._loop)  # noqa: SLF001 - as when a real one calls
            try:
                self._protocol.data_received(octets)
            finally:
                asyncio._set_running_loop(None)  # noqa: SLF001

    def read(self) -> None:
        """Read all that there is."""
        self.unread = 0
        if self._writing_paused:
            self._writing_paused = False
            self._protocol.resume_writing()

    def shut_down(self) -> None:
        """Send no more (end of file)."""
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """Be gone."""
        self._lose(ConnectionResetError())

    # The protocol's end

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing, "written behind the end"
        self.heard += data
        if self._high_water is None:
            return
        self.unread += len(data)
        self.most_unread = max(self.most_unread, self.unread)
        if self.unread > self._high_water and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self.lost = True
        self._protocol.connection_lost(error)
