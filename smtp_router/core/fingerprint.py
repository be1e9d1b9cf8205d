"""What tells one message from another: for finding out whether a message comes a second time.

Two messages are the same if login, envelope and content are, to the octet. So a message that a client
sends again is the same; one that a person writes again has another `Message-ID` and `Date`.
"""

import hashlib

from smtp_router.core.message import Message, on_the_wire

Outline = tuple[str, str, tuple[str, ...], int]
"""Login, sender, recipients and size: what can be compared without reading the content."""


def outline(message: Message) -> Outline:
    """What is seen of a message at a glance."""
    return (message.user, message.mail_from, message.rcpt_tos, message.size)


def fingerprint(message: Message) -> str:
    """64 hexadecimal digits, the same for the same message; takes about a millisecond per megabyte."""
    digest = hashlib.sha256()
    for text in (message.user, message.mail_from, *message.rcpt_tos, ""):
        digest.update(text.encode(errors="surrogateescape") + b"\n")  # no line end is in any of them
    for piece in on_the_wire(message).pieces:
        digest.update(piece)
    return digest.hexdigest()
