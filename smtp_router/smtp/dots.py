"""Dot transparency: content to wire and back, exact to the octet (RFC 5321 4.5.2).

Only CRLF ends a line here. A bare CR or LF is content, and a dot behind it is left alone.
"""


def stuff(content: bytes) -> bytes:
    """Content as it goes over the wire, without the final dot.

    Content that does not end in CRLF gets one, since the final dot needs a line of its own.
    """
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def unstuff(wire: bytes) -> bytes:
    """What came over the wire before the final dot, as content."""
    content = wire.replace(b"\r\n.", b"\r\n")
    return content[1:] if content.startswith(b".") else content
