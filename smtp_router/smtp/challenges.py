"""The exchange of AUTH challenges: aiosmtpd's, for the few clients that need one.

Its line-by-line command loop, its parsers, its timer and its error replies are not used (see
`docs/design.md`).
"""

import asyncio
from collections.abc import Callable

from aiosmtpd.smtp import SMTP

from smtp_router.smtp.wire import MAX_LINE_OCTETS


class Challenges(SMTP):
    """Asks one client, and reads what it answers; see `challenges_class`."""

    line_length_limit = MAX_LINE_OCTETS

    def __init__(self, write: Callable[[bytes], None], peer: str) -> None:
        """Nothing is asked yet.

        Args:
            write: writes to the client.
            peer: its address.
        """
        # The base class's constructor has run once, for all: see `challenges_class`.
        self._write = write
        self.session = self._create_session()
        self.session.peer = peer
        self._reader = asyncio.StreamReader(limit=MAX_LINE_OCTETS, loop=self.loop)

    async def ask(self, text: bytes) -> bytes | None:
        """Send a challenge; the decoded response, or `None`: the client has heard why it is none."""
        response = await self.challenge_auth(text)
        return response if isinstance(response, bytes) else None

    def hear(self, line: bytes) -> None:
        """The line that answers the challenge, without its end."""
        # The reader would take a bare LF for a line's end, and what is behind it for the next line; and
        # "!" is no base64.
        self._reader.feed_data((b"!" if b"\n" in line else line) + b"\r\n")

    async def push(self, status: str | bytes) -> None:
        """What aiosmtpd writes."""
        octets = status.encode() if isinstance(status, str) else status
        self._write(octets + b"\r\n")

    async def _handle_client(self) -> None:
        """aiosmtpd's command loop: nothing is left of it, a session has taken its place."""


def challenges_class(hostname: str, loop: asyncio.AbstractEventLoop) -> type[Challenges]:
    """A class for all clients of one listener, which shares what aiosmtpd's constructor finds out.

    It looks through all methods, and the result is always the same.
    """
    shared = vars(SMTP(object(), hostname=hostname, enable_SMTPUTF8=True, loop=loop))
    return type("ListenerChallenges", (Challenges,), shared)
