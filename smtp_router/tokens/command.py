"""A token from a command's first line of output.

No shell runs it. What it says on stderr is dropped: nobody knows what stands there. Whatever it has
started is killed with it when it takes too long, unless it has left the command's session.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from subprocess import DEVNULL, PIPE

from smtp_router.tokens.token import MAX_OCTETS, Token, TokenError

_STDOUT = 1


class Command:
    """Runs a command for each token."""

    def __init__(self, words: Sequence[str], *, lifetime_s: float) -> None:
        """Nothing runs yet.

        Args:
            words: the program and its arguments.
            lifetime_s: how long a token of it can be used.
        """
        self._words = words
        self._lifetime_s = lifetime_s

    def __str__(self) -> str:
        """The program's name; arguments may be anything."""
        return PurePath(self._words[0]).name

    async def fetch(self) -> Token:
        """Run the command, and see it end.

        Raises:
            TokenError: it could not be run, it failed, or what it said is no token.
        """
        loop = asyncio.get_running_loop()
        run = _Run(loop)
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: run,
                *self._words,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise TokenError(f"token_command cannot be run: {error.strerror}") from None
        try:
            await run.is_over.wait()
        finally:
            if transport.get_returncode() is None:
                with suppress(ProcessLookupError):
                    os.killpg(transport.get_pid(), signal.SIGKILL)
            transport.close()
            await run.has_exited.wait()
        code = transport.get_returncode()
        if code != 0:
            raise TokenError(f"token_command ended with {code}")
        line = bytes(run.output).partition(b"\n")[0].strip()
        return Token.made_of(line.decode("ascii", "replace"), self._lifetime_s)


class _Run(asyncio.SubprocessProtocol):
    """One run of the command: its output as far as it matters, and its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.output = bytearray()
        self.has_exited = asyncio.Event()
        self.is_over = asyncio.Event()
        """Exited, and all that it has said is here."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDOUT:
            self.output += data[: MAX_OCTETS + 1 - len(self.output)]

    def process_exited(self) -> None:
        self.has_exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.has_exited.set()
        self.is_over.set()
