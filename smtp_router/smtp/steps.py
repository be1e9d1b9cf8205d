"""What a connection has to do next, as the conversation says."""

from dataclasses import dataclass, field

from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.smtp.body import Body


@dataclass(slots=True)  # none of these is frozen: making one would take four times as long
class Answer:
    """Write this and go on with the next command.

    Args:
        octets: one reply or several lines of one, with CRLF.
    """

    octets: bytes


@dataclass(slots=True)
class Farewell(Answer):
    """Write this, and end the connection."""


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


@dataclass(slots=True)
class LogIn:
    """Take the client through this mechanism, and tell `logged_in` how it went."""

    mechanism: str
    initial: bytes | None = field(repr=False)


Step = Answer | StartTls | Receive | LogIn | Message
"""A message is to be routed, and the answer is what comes of it."""


def answer(reply: Reply, *, close: bool = False) -> Answer:
    """A reply as octets."""
    kind = Farewell if close else Answer
    return kind(f"{reply}\r\n".encode("ascii"))
