"""One transaction: the envelope as it is given, the content as it comes, and what is said at its end."""

from smtp_router.config.settings import Settings
from smtp_router.core.content import Stuffed, head_of
from smtp_router.core.headers import count_fields, header_end
from smtp_router.core.message import Parameters
from smtp_router.core.reply import Reply
from smtp_router.smtp.body import Body
from smtp_router.smtp.newlines import WholeLineEnds
from smtp_router.smtp.wire import whole_content

MAX_RECEIVED_FIELDS = 100
"""As many and the message goes in circles (RFC 5321 6.3)."""
LEAST_CIRCLE_OCTETS = MAX_RECEIVED_FIELDS * len("Received:\n")
"""No header that is shorter has so many, even if bare LFs pass for line ends."""
_LEAST_CRLF_CIRCLE_OCTETS = MAX_RECEIVED_FIELDS * len("Received:\r\n")
MAX_HEADER_OCTETS = 1024 * 1024
"""How much of a header is searched for them; they are on top."""
USUAL_HEADER_OCTETS = 16 * 1024
"""A header that ends within so many is not taken apart before its lines are counted."""

BARE_NEWLINES = Reply(code=550, enhanced="5.6.0", text="Content has a bare CR, a bare LF or a NUL")
LOOP = Reply(code=554, enhanced="5.4.6", text="The message goes in circles")
NO_ROOM = Reply(code=452, enhanced="4.3.1", text="Too many messages at once, try again later")


class Transaction:
    """What MAIL, RCPT, DATA and BDAT have brought so far."""

    __slots__ = (
        *("body", "failed", "mail_from", "mail_parameters"),
        *("rcpt_parameters", "rcpt_tos", "settings"),
    )

    def __init__(self, mail_from: str, mail_parameters: Parameters, settings: Settings) -> None:
        """MAIL was said."""
        self.settings = settings
        """Those that counted then."""
        self.mail_from = mail_from
        self.mail_parameters = mail_parameters
        self.rcpt_tos: list[str] = []
        self.rcpt_parameters: list[Parameters] = []
        self.body: Body | None = None
        """The content, from DATA or the first chunk on."""
        self.failed = False
        """Whether a chunk was refused, which RSET has to follow (RFC 3030 2)."""

    def end(self) -> Stuffed | Reply:
        """The content is complete: what to route, or why not."""
        body = self.body
        assert body is not None
        body.end()
        if body.is_too_big:
            return too_big(self.settings)
        if body.had_no_room:
            return NO_ROOM
        if body.has_bare_newlines and self.settings.bare_newlines == "reject":
            return BARE_NEWLINES
        content = body.content
        return LOOP if _goes_in_circles(content.pieces) else content

    def end_at_once(self, segment: bytes, line_ends: WholeLineEnds) -> Stuffed | None:
        """The same for content that comes whole, as most does, and has room: in a quarter of the steps.

        Args:
            segment: what has come, the final dot with it.
            line_ends: looks for bare newlines.

        Returns:
            `None`, if it takes a wire and a body to know what it is, or what is wrong with it.
        """
        content = whole_content(segment)
        if content is None:
            return None
        size = len(content)
        if size > self.settings.max_message_bytes or line_ends.has_bare(content):
            return None
        if size >= _LEAST_CRLF_CIRCLE_OCTETS and not _has_short_header(content):
            return None
        return Stuffed((content,), size)


def too_big(settings: Settings) -> Reply:
    """The reply to content above the limit."""
    text = f"The message is bigger than {settings.max_message_bytes} octets"
    return Reply(code=552, enhanced="5.3.4", text=text)


def _has_short_header(piece: bytes) -> bool:
    """Whether the header ends in this first piece, and has fewer lines than it may have `Received:`."""
    end = piece.find(b"\r\n\r\n", 0, USUAL_HEADER_OCTETS)
    if end < 0:
        return False
    if end + len(b"\r\n") < LEAST_CIRCLE_OCTETS:  # to count takes seven instructions an octet
        return True
    return piece.count(b"\n", 0, end + 2) < MAX_RECEIVED_FIELDS


def _goes_in_circles(pieces: tuple[bytes, ...]) -> bool:
    """Whether there are too many `Received:` fields; most headers have not even as many lines."""
    if pieces and _has_short_header(pieces[0]):
        return False
    head = head_of(pieces, MAX_HEADER_OCTETS)
    return count_fields(head[: header_end(head)], b"Received") >= MAX_RECEIVED_FIELDS
