"""Line ends that only some servers take for line ends."""


def has_bare_newlines(content: bytes) -> bool:
    """Whether there is a CR or LF that is not part of CRLF, or a NUL.

    A next hop that takes one for a line end, or drops NULs, can be made to see the end of content where
    there is none, and a second message behind it (RFC 5321 2.3.8; CVE-2023-51764 and its kin).
    """
    pairs = content.count(b"\r\n")
    return content.count(b"\r") != pairs or content.count(b"\n") != pairs or b"\0" in content
