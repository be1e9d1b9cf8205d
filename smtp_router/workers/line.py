"""A line between the parent and one worker: either asks and tells the other.

A frame is its length in four octets, and a JSON object: `{"tell": what, …}`, `{"ask": what, "number":
n, …}`, or what comes back, `{"number": n, "answer": …}` or `{"number": n, "error": "…"}`. When one of
the two ends, the kernel closes the line, and the other one knows.
"""

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

log = logging.getLogger(__name__)

_LENGTH = 4

Words = Mapping[str, Any]


class LostError(Exception):
    """The other one has ended, or has not understood."""


class Line:
    """One end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        asked: Callable[[str, Words], Awaitable[object]],
        told: Callable[[str, Words], None],
    ) -> None:
        """Nothing is read until `run`.

        Args:
            reader: reads from the other end.
            writer: writes to it.
            asked: answers questions, each in a task of its own.
            told: takes what needs no answer, in the order in which it comes.
        """
        self._reader = reader
        self._writer = writer
        self._asked = asked
        self._told = told
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def on(
        cls,
        end: socket.socket,
        *,
        asked: Callable[[str, Words], Awaitable[object]],
        told: Callable[[str, Words], None],
    ) -> Self:
        """The end that is this socket."""
        reader, writer = await asyncio.open_connection(sock=end)
        return cls(reader, writer, asked=asked, told=told)

    def tell(self, what: str, **more: object) -> None:
        """Say something that needs no answer; to nobody, if the other one has ended."""
        self._send({"tell": what, **more})

    async def ask(self, what: str, **more: object) -> Any:  # noqa: ANN401 - as JSON has it
        """The other one's answer.

        Raises:
            LostError: there will be none.
        """
        if self._writer.is_closing():
            raise LostError("has ended")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"ask": what, "number": number, **more})
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def run(self) -> None:
        """Listen until the other one has ended."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
                self._hear(json.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(LostError("has ended"))
            for task in self._tasks:
                task.cancel()

    def _hear(self, said: Words) -> None:
        if "tell" in said:
            self._told(said["tell"], said)
        elif "ask" in said:
            task = asyncio.get_running_loop().create_task(self._answer(said))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif (answer := self._waiting.get(said["number"])) is not None and not answer.done():
            if "error" in said:
                answer.set_exception(LostError(said["error"]))
            else:
                answer.set_result(said["answer"])

    async def _answer(self, said: Words) -> None:
        try:
            found = await self._asked(said["ask"], said)
        except Exception:
            log.exception("a question could not be answered")
            self._send({"number": said["number"], "error": "could not answer"})
        else:
            answer = {"number": said["number"], "answer": found}
            self._write(await asyncio.to_thread(_in_octets, answer))

    def _send(self, said: Words) -> None:
        self._write(_in_octets(said))

    def _write(self, octets: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(len(octets).to_bytes(_LENGTH, "big") + octets)


def _in_octets(said: Words) -> bytes:
    return json.dumps(said, default=str).encode()
