"""One worker's process, as the parent sees it."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from smtp_router.workers.line import Line, LostError, Words
from smtp_router.workers.order import Order

END_S = 60.0
"""How long one may take to end that has not said how long it will."""


class Child:
    """A process that is running, or was."""

    def __init__(self, worker: int, process: asyncio.subprocess.Process) -> None:
        """It has just been started; `start` does that."""
        self.worker = worker
        self.problems: list[str] = []
        """Why it refused to begin."""
        self.is_at_work = False
        """Whether it serves the epoch that all serve."""
        self.is_ready = asyncio.Event()
        self.end_s = END_S
        self.heard_at = asyncio.get_running_loop().time()
        """When it last said that it lives."""
        self._process = process
        self._line: Line | None = None

    @classmethod
    async def start(
        cls,
        order: Order,
        sockets: Sequence[Sequence[socket.socket]],
        *,
        asked: Callable[["Child", str, Words], Awaitable[object]],
        told: Callable[["Child", str, Words], None],
    ) -> "Child":
        """Start it.

        Args:
            order: what it is to do, but for what it is to inherit.
            sockets: what each listener listens on.
            asked: answers what it asks.
            told: takes what it tells.

        Raises:
            OSError: it cannot be started.
        """
        ours, its = socket.socketpair()
        with its:
            listening = [[each.fileno() for each in one] for one in sockets]
            order = replace(order, line=its.fileno(), listening=listening)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "smtp_router.cli.worker"),
                    stdin=subprocess.PIPE,
                    pass_fds=tuple(order.inherited),
                    process_group=0,  # what is typed at a terminal is for the parent
                )
            except OSError:
                ours.close()
                raise
        child = cls(order.worker, process)
        child._line = await Line.on(
            ours,
            asked=lambda what, said: asked(child, what, said),
            told=lambda what, said: told(child, what, said),
        )
        assert process.stdin is not None
        process.stdin.write(order.written())
        process.stdin.close()
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ended(self) -> str:
        """Wait until it has ended; how it did. One that has hung up and goes on is ended."""
        assert self._line is not None
        gone = asyncio.ensure_future(self._process.wait())
        heard = asyncio.ensure_future(self._line.run())
        await asyncio.wait({gone, heard}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({gone}, timeout=self.end_s)
        if not gone.done():
            self.kill()
        code = await gone
        self._line.close()
        await heard
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def tell(self, what: str, **more: object) -> None:
        """See `Line`."""
        assert self._line is not None
        self._line.tell(what, **more)

    async def ask(self, what: str, *, within_s: float, **more: object) -> Any:  # noqa: ANN401 - as JSON has it
        """See `Line`.

        Raises:
            LostError: there will be no answer, or there was none in time.
        """
        assert self._line is not None
        try:
            async with asyncio.timeout(within_s):
                return await self._line.ask(what, **more)
        except TimeoutError as error:
            raise LostError("does not answer") from error

    def dismiss(self) -> None:
        """Hang up: it ends by itself."""
        assert self._line is not None
        self._line.close()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
