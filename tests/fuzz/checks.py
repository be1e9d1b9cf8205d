"""What has to hold of every session."""

from smtp_router import Message
from smtp_router.config.settings import Settings
from tests.fuzz.rig import Trace
from tests.fuzz.transcript import Reader
from tests.rawclient import RawReply


def check(sent: bytes, trace: Trace, settings: Settings) -> Reader:
    """See that replies and messages are those that follow from what was sent."""
    reader = Reader(
        sent,
        trace.replies,
        limit=settings.max_message_bytes,
        reject_bare=settings.bare_newlines == "reject",
    )
    reader.read()
    assert reader.ended == trace.parted
    assert len(reader.routed) == len(trace.messages)
    for routed, message in zip(reader.routed, trace.messages, strict=True):
        assert routed.is_that_of(message)
    return reader


def check_timely(reader: Reader, trace: Trace) -> None:
    """See that each reply came when what it answers was complete, and not a segment earlier or later."""
    for sent, heard in trace.marks:
        due = sum(_octets(reply) for at, reply in reader.due if at <= sent)
        assert heard == due, f"behind octet {sent}"


def essence(trace: Trace) -> tuple[tuple[RawReply, ...], tuple[Message, ...], bool]:
    """What has to be the same every time; a SCRAM challenge has a random part."""
    replies = tuple(reply if reply.code != 334 else RawReply(334, ()) for reply in trace.replies)
    return replies, trace.messages, trace.parted


def _octets(reply: RawReply) -> int:
    return sum(len(b"250 %b\r\n" % line) for line in reply.lines)
