"""What tells one message from another: for finding out whether a message comes a second time.

Two messages are the same if login, envelope and content are, to the octet. So a message that a client
sends again is the same; one that a person writes again has another `Message-ID` and `Date`, and they are
part of the content.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from smtp_router.core.message import NO_PARAMETERS, Message, Parameters, on_the_wire


class Outline(NamedTuple):
    """What can be compared without reading the content."""

    user: str
    size: int


class Fingerprint(NamedTuple):
    """What is the same for the same message only."""

    key: str
    """Of login, envelope and content: 64 hexadecimal digits."""
    digest: str
    """SHA-256 of the content alone, as it came over the wire: 64 hexadecimal digits."""


def outline(message: Message) -> Outline:
    """What is seen of a message at a glance."""
    return Outline(message.user, message.size)


def fingerprint(message: Message) -> Fingerprint:
    """All of a message in two short texts; takes about a millisecond per megabyte."""
    content = hashlib.sha256()
    for piece in on_the_wire(message).pieces:
        content.update(piece)
    digest = content.hexdigest()
    whole = hashlib.sha256()
    for text in (*_envelope(message), digest):  # no line end is in any of them
        whole.update(text.encode(errors="surrogateescape") + b"\n")
    return Fingerprint(whole.hexdigest(), digest)


def _envelope(message: Message) -> Iterator[str]:
    yield message.user
    yield f"<{message.mail_from}> {_written(message.mail_parameters)}"
    for position, recipient in enumerate(message.rcpt_tos):
        given = message.rcpt_parameters[position] if message.rcpt_parameters else NO_PARAMETERS
        yield f"<{recipient}> {_written(given)}"


def _written(parameters: Parameters) -> str:
    return repr(sorted(parameters.items()))
