"""What a scripted downstream has seen. No I/O."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_POSITIVE = re.compile(rb"(?:2\d\d-[^\r\n]*\r\n)*2\d\d(?: [^\r\n]*)?\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One message that arrived whole, whatever was said to it.

    Args:
        mail_from: the sender; empty for the null reverse-path.
        rcpt_tos: the recipients that were not refused.
        mail_line: the MAIL command, with its parameters.
        rcpt_lines: the RCPT commands, likewise.
        content: exactly what came, without the stuffed dots, with the CRLF before the final one.
        reply: what was said to it, as octets; empty if nothing was.
        ehlo: the name the peer gave.
        login: whom it logged in as.
        tls: whether the connection was encrypted.
        connection: the number of the connection; the first one is 1.
        at: when it came, in seconds by `time.monotonic()`.
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    mail_line: str
    rcpt_lines: tuple[str, ...]
    content: bytes
    reply: bytes
    ehlo: str
    login: str | None
    tls: bool
    connection: int
    at: float

    @property
    def is_delivered(self) -> bool:
        """Whether a whole positive reply was said to it."""
        return is_positive(self.reply)

    @property
    def below_received(self) -> bytes:
        """The content without its first field, which is the `Received:` of who sent it here."""
        end = re.match(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", self.content, re.IGNORECASE)
        return self.content[end.end() :] if end else self.content


def is_positive(reply: bytes) -> bool:
    """Whether these octets begin with a whole 2yz reply."""
    return _POSITIVE.match(reply) is not None


class Record:
    """Messages and commands as they come; to be read from any thread."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._messages: list[Taken] = []
        self._heard: list[str] = []
        self._changed = threading.Condition()

    @property
    def messages(self) -> tuple[Taken, ...]:
        """All messages that arrived whole, whatever was said to them, in the order of their end."""
        return tuple(self._messages)

    @property
    def delivered(self) -> tuple[Taken, ...]:
        """Those to which a positive reply was said."""
        return tuple(taken for taken in self.messages if taken.is_delivered)

    @property
    def heard(self) -> tuple[str, ...]:
        """All command lines, without their CRLF; logins are among them."""
        return tuple(self._heard)

    def forget(self) -> tuple[Taken, ...]:
        """Forget the messages and commands so far; returns the messages."""
        with self._changed:
            messages = tuple(self._messages)
            self._messages.clear()
            self._heard.clear()
        return messages

    def wait_for(self, predicate: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until something is so; asked again whenever something happens here.

        From the event loop that this runs on, use `asyncio.to_thread`.

        Raises:
            TimeoutError: it is not so within these seconds.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, seconds):
                raise TimeoutError(f"not within {seconds} s: {self!r}")

    def hears(self, line: str) -> None:
        """Record a command."""
        with self.news():
            self._heard.append(line)

    def keeps(self, taken: Taken) -> None:
        """Record a message."""
        with self.news():
            self._messages.append(taken)

    @contextmanager
    def news(self) -> Iterator[None]:
        """Hold the lock for a change, then wake those who wait for one."""
        with self._changed:
            yield
            self._changed.notify_all()
