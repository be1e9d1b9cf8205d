"""What a connection has to do next, as the conversation says."""

from dataclasses import dataclass, field

from smtp_router.core.content import Stuffed
from smtp_router.core.message import Parameters
from smtp_router.core.reply import Reply
from smtp_router.smtp.body import Body


@dataclass(slots=True)  # not frozen: one is made for every command, which would take four times as long
class Answer:
    """Write this and go on.

    Args:
        octets: one reply or several lines of one, with CRLF.
        close: end the connection after it.
        content: what comes next is content, and goes in here.
    """

    octets: bytes
    close: bool = False
    content: Body | None = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Agree, and tell `started_tls` when the handshake is done."""


@dataclass(frozen=True, slots=True)
class Receive:
    """What comes next is a chunk of this many octets.

    Args:
        octets: how many.
        body: where they go; `None` when nobody wants them.
    """

    octets: int
    body: Body | None


@dataclass(slots=True)  # as above
class LogIn:
    """Take the client through this mechanism, and tell `logged_in` how it went."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(slots=True)  # as above
class Submit:
    """Route this transaction, and answer with what comes of it."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    mail_parameters: Parameters
    rcpt_parameters: tuple[Parameters, ...]
    content: Stuffed = field(repr=False)


Step = Answer | StartTls | Receive | LogIn | Submit


def answer(reply: Reply, *, close: bool = False) -> Answer:
    """A reply as octets."""
    return Answer(f"{reply}\r\n".encode("ascii"), close=close)
