"""The side that answers."""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from smtp_router.smtp.sockets import unix_socket

log = logging.getLogger(__name__)

MODE = 0o600
MAX_LINE = 64 * 1024
PATIENCE_S = 5.0
"""How long somebody may take to ask, or to read the answer."""

Question = Mapping[str, object]
Answers = Mapping[str, Callable[[Question], Awaitable[object]]]


class Control:
    """Answers questions, one for each connection."""

    def __init__(self, path: Path, answers: Answers) -> None:
        """Nothing listens yet.

        Args:
            path: of the socket.
            answers: for each thing that can be asked for, what gives the answer, as JSON has it.
        """
        self._path = path
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Where that cannot be, it is logged: mail goes on without."""
        try:
            listening = unix_socket(str(self._path), mode=MODE)
        except OSError as error:
            fields = {"path": str(self._path), "problem": error.strerror or str(error)}
            log.warning("nobody can ask this router", extra={"fields": fields})
            return
        listening.setblocking(False)  # noqa: FBT003 - not ours to name
        self._server = await asyncio.start_unix_server(self._talk, sock=listening, limit=MAX_LINE)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - what is bound, whatever it is
            await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._answer(await reader.readline())
                written = await asyncio.to_thread(json.dumps, answer, default=str)
                writer.write(written.encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError):  # gone, slow, or a line without an end
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            question = json.loads(line)
        except ValueError:
            question = None
        if not isinstance(question, dict):
            return {"error": "a question is a line with a JSON object"}
        answer = self._answers.get(str(question.get("ask")))
        if answer is None:
            return {"error": f"nothing is known of this; ask for {', '.join(self._answers)}"}
        try:
            return {"answer": await answer(question)}
        except Exception:
            log.exception("a question could not be answered")
            return {"error": "it could not be answered; the router's log says why"}
