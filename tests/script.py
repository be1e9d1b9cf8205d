"""What a witness can be told to do, stage by stage: the words of its script."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

DRIP_S: Final = 0.05
DRIP_MAX_BYTES: Final = 100
STAGES: Final = frozenset(
    {"accept", "banner", "helo", "ehlo", "starttls", "auth"}
    | {"mail", "rcpt", "data", "content", "final", "rset", "quit"}
)


class Act(enum.Enum):
    """What to do instead of answering, or how to answer."""

    NORMAL = "answer as usual"
    DROP = "close without an answer"
    RESET = "close with a TCP reset"
    HANG = "never answer; close on release() or stop()"
    DRIP = "answer as usual, one byte per DRIP_S"


NORMAL: Final = Act.NORMAL
DROP: Final = Act.DROP
RESET: Final = Act.RESET
HANG: Final = Act.HANG
DRIP: Final = Act.DRIP


@dataclass(frozen=True, slots=True)
class Raw:
    """Send exactly these bytes, with no CRLF added, and go on."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Then:
    """Answer, then end the connection."""

    reply: bytes | Raw | Literal[Act.NORMAL]
    end: Act = DROP


# bytes: a reply, CRLF added if missing; the connection ends after a 421.
Step: TypeAlias = bytes | Raw | Then | Act
# A callable gets the command line; at "content" the first bytes, at "final" the whole content.
Action: TypeAlias = Step | Callable[[bytes], Step]
Plan: TypeAlias = Action | list[Action] | tuple[Action, ...]


def spell_out(step: Step, normal: bytes) -> tuple[bytes, Act]:
    """Tell the bytes to send, and how to send them or what to do after them."""
    match step:
        case Then(reply, end):
            return spell_out(reply, normal)[0], end
        case Raw(data):
            return data, NORMAL
        case bytes():
            return as_line(step), DROP if step.startswith(b"421") else NORMAL
        case Act.NORMAL | Act.DRIP:
            return as_line(normal), step
        case _:
            return b"", step


def as_line(reply: bytes) -> bytes:
    """The reply with the CRLF that ends it, if there is one."""
    return reply if not reply or reply.endswith(b"\r\n") else reply + b"\r\n"
