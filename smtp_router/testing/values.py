"""What plugins see, made with defaults: messages, downstreams, outcomes, attempts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from smtp_router.core.downstream import Downstream, Health
from smtp_router.core.message import Message
from smtp_router.core.outcome import (
    Attempt,
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    Rejected,
    Stage,
)
from smtp_router.core.reply import Reply

USER: Final = "user@example.com"
"""Whose messages are, unless it is said."""
EPOCH: Final = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
"""When messages come, and when a `VirtualClock` starts."""
CONTENT: Final = b"Subject: hello\r\nFrom: sender@a.example\r\n\r\nHello.\r\n"


def make_message(**changes: Any) -> Message:  # noqa: ANN401 - any field of the class
    """A message from `user@example.com` to one recipient.

    Args:
        changes: any field of `Message`, as in `make_message(rcpt_tos=("b@b.example",), content=b"…")`.

    Raises:
        TypeError: there is no such field.
    """
    fields: dict[str, Any] = {
        "id": "message-1",
        "user": USER,
        "mail_from": "sender@a.example",
        "rcpt_tos": ("rcpt@b.example",),
        "content": CONTENT,
        "received_at": EPOCH,
    }
    return Message(**{**fields, **changes})


def make_downstream(
    name: str = "a",
    *,
    health: Health | None = None,
    options: Mapping[str, object] | None = None,
    host: str = "",
    port: int = 25,
) -> Downstream:
    """A downstream as plugins see it; its options are read-only, as the router's are.

    Args:
        name: its name.
        health: its figures; by default those of one that works and has had nothing to do.
        options: what the configuration says under `options`.
        host: by default, its name at `example`.
        port: its TCP port.
    """
    return Downstream(
        name=name,
        host=host or f"{name}.example",
        port=port,
        options=MappingProxyType(dict(options or {})),
        health=health or Health(),
    )


def make_reply(line: str) -> Reply:
    """`make_reply("450 4.2.1 busy")`; the enhanced code and the text may be missing.

    Raises:
        ValueError: it begins with no code of SMTP.
    """
    code, _, text = line.partition(" ")
    return Reply.parse(int(code), text)


def delivered(line: str = "250 2.0.0 queued") -> Delivered:
    """The downstream has taken it, with this reply."""
    return Delivered(reply=make_reply(line))


def deferred(line: str | None = "450 4.2.1 busy", stage: Stage = Stage.RCPT) -> Deferred:
    """The downstream said 4yz; or, with `None`, nothing at all."""
    return Deferred(stage=stage, reply=make_reply(line) if line else None, reason="" if line else "gone")


def unreachable() -> Deferred:
    """No connection was made."""
    return deferred(None, Stage.CONNECT)


def rejected(line: str | None = "550 5.1.1 no such user", stage: Stage = Stage.RCPT) -> Rejected:
    """The downstream said 5yz about this message."""
    return Rejected(stage=stage, reply=make_reply(line) if line else None)


def in_doubt() -> InDoubt:
    """The final dot went out, and no reply came."""
    return InDoubt(reason="connection lost")


def make_attempt(
    downstream: Downstream | str = "a", outcome: Outcome | None = None, *, seconds: float = 0.1
) -> Attempt:
    """One try at a downstream.

    Args:
        downstream: which one, or the name of one made for it.
        outcome: what became of it; by default, a delivery.
        seconds: how long it took.
    """
    tried = make_downstream(downstream) if isinstance(downstream, str) else downstream
    return Attempt(downstream=tried, outcome=outcome or delivered(), seconds=seconds)
