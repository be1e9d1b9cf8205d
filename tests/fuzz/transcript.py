"""Whether replies and messages fit what a client has sent: a second reading, which shares no code.

The replies say what the session took each line for (a `354` is followed by content, a `334` by a
response); from the octets sent follows where each of these ends, that it has exactly one reply, and what
was to be routed. What is known of the grammar here is only what framing needs.

| behind | comes | and ends with |
|---|---|---|
| a command | one reply | CRLF |
| `354` | content, one reply | CRLF.CRLF, at once if the first line is a dot (RFC 5321 4.1.1.4) |
| `334` | a response, one reply | CRLF (RFC 4954 4) |
| `BDAT n` | n octets, one reply | the last of them (RFC 3030 2) |
| `221`, `421`, or `501` to BDAT | nothing | the connection |
"""

import re
from dataclasses import dataclass, field

from smtp_router import Message
from tests.rawclient import RawReply

_REPLY = re.compile(rb"(?:([2-5]\d\d)-[\x20-\x7e]*\r\n)*([2-5]\d\d) [\x20-\x7e]*\r\n")
_BDAT = re.compile(rb"BDAT (\d{1,19})(?: +(LAST))? *", re.IGNORECASE)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\n\r?\n")
_ROUTED = re.compile(rb"2\.6\.0 message-\d+|4\.2\.1 message-\d+|5\.7\.1 message-\d+")

MAX_LINE_OCTETS = 512
OUR_FAULT = RawReply(451, (b"4.3.0 Local error in processing",))


def read_replies(heard: bytes) -> tuple[RawReply, ...]:
    """The replies in what a client heard; nothing else may be there (RFC 5321 4.2)."""
    replies = []
    start = 0
    while start < len(heard):
        match = _REPLY.match(heard, start)
        assert match, f"no reply: {heard[start : start + 100]!r}"
        *lines, end = match[0].split(b"\r\n")
        assert not end
        assert {line[:3] for line in lines} == {match[2]}
        assert max(map(len, lines)) + 2 <= MAX_LINE_OCTETS
        replies.append(RawReply(int(match[2]), tuple(line[4:] for line in lines)))
        start = match.end()
    assert OUR_FAULT not in replies
    return tuple(replies)


@dataclass(slots=True)
class _Envelope:
    mail: bytes
    rcpts: list[bytes] = field(default_factory=list)
    chunks: bytes | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Routed:
    """What was to be routed: the lines that gave the envelope, and the content."""

    mail: bytes
    rcpts: tuple[bytes, ...]
    content: bytes

    def is_that_of(self, message: Message) -> bool:
        """Whether the message is this, to the octet."""
        paths = [message.mail_from, *message.rcpt_tos]
        return (
            _whole_lines(message.content) == _whole_lines(self.content)
            and len(message.rcpt_tos) == len(self.rcpts)
            and all(
                b"<%b>" % path.encode() in line
                for path, line in zip(paths, (self.mail, *self.rcpts), strict=True)
            )
        )


class Reader:
    """Reads a session a second time."""

    def __init__(
        self, sent: bytes, replies: tuple[RawReply, ...], *, limit: int, reject_bare: bool
    ) -> None:
        """Begin where the banner comes.

        Args:
            sent: all octets of the client.
            replies: all that it heard.
            limit: the biggest message taken, in octets.
            reject_bare: whether bare newlines are refused.
        """
        self.routed: list[Routed] = []
        """What was to be routed, in order."""
        self.due: list[tuple[int, RawReply]] = []
        """Each reply, and behind how many of the client's octets it was to come."""
        self.ended = False
        """Whether the session was to end by itself."""
        self._sent = sent
        self._at = 0
        self._replies = iter(replies)
        self._limit = limit
        self._reject_bare = reject_bare
        self._envelope: _Envelope | None = None

    def read(self) -> None:
        """Read it all.

        Raises:
            AssertionError: a reply too many, or too few, or one that does not fit.
        """
        self.ended = self._next().code != 220
        while not self.ended and (line := self._line()) is not None:
            self._command(line)
        assert next(self._replies, None) is None, "a reply to nothing"

    def _next(self) -> RawReply:
        reply = next(self._replies, None)
        assert reply is not None, f"no reply to what ends at octet {self._at}"
        self.due.append((self._at, reply))
        return reply

    def _line(self) -> bytes | None:
        end = self._sent.find(b"\r\n", self._at)
        if end < 0:
            return None
        line = self._sent[self._at : end]
        self._at = end + 2
        return line

    def _command(self, line: bytes) -> None:
        verb = line.partition(b" ")[0].upper()
        chunk = _BDAT.fullmatch(line) if len(line) <= MAX_LINE_OCTETS - 2 else None
        if chunk:
            self._chunk(int(chunk[1]), last=chunk[2] is not None)
            return
        reply = self._next()
        match verb, reply.code:
            case _, 221 | 421:
                self.ended = True
            case b"BDAT", code:
                self.ended = code == 501
                assert code in (500, 501)
            case b"EHLO" | b"HELO" | b"RSET", 250:
                self._envelope = None
            case b"MAIL", 250:
                assert self._envelope is None
                self._envelope = _Envelope(line)
            case b"RCPT", 250:
                assert self._envelope
                self._envelope.rcpts.append(line)
            case b"DATA", 354:
                self._content()
            case b"AUTH", 334:
                self._exchange()
            case _, code:
                assert code not in (334, 354)
                assert verb not in (b"MAIL", b"RCPT", b"DATA") or code >= 400

    def _exchange(self) -> None:
        while self._line() is not None:
            reply = self._next()
            if reply.code != 334:
                self.ended = reply.code == 421
                return

    def _content(self) -> None:
        envelope = self._take_envelope()
        assert envelope.chunks is None
        assert not envelope.failed
        start = self._at - 2  # content begins at the start of a line
        assert self._sent[start : start + 2] == b"\r\n"
        end = self._sent.find(b"\r\n.\r\n", start)
        if end < 0:
            self._at = len(self._sent)
            return
        lines = self._sent[self._at : end + 2].split(b"\r\n")
        self._at = end + 5
        self._fate(envelope, b"\r\n".join(line.removeprefix(b".") for line in lines))

    def _chunk(self, octets: int, *, last: bool) -> None:
        piece = self._sent[self._at : self._at + octets]
        self._at += len(piece)
        if len(piece) < octets:
            return
        envelope = self._envelope
        if envelope is None or not envelope.rcpts or envelope.failed:
            if envelope:
                envelope.failed = True
            self._expect(503)
        elif len(envelope.chunks or b"") + octets > self._limit:
            envelope.failed = True
            self._expect(552)
        else:
            envelope.chunks = (envelope.chunks or b"") + piece
            if last:
                self._take_envelope()
                self._fate(envelope, envelope.chunks)
            else:
                self._expect(250)
        if last:
            self._envelope = None

    def _fate(self, envelope: _Envelope, content: bytes) -> None:
        header = _HEADER_END.split(b"\n" + content, maxsplit=1)[0]
        if len(content) > self._limit:
            self._expect(552)
        elif self._reject_bare and _BARE.search(content):
            self._expect(550)
        elif len(_RECEIVED.findall(header)) >= 100:
            self._expect(554)
        else:
            reply = self._next()
            assert _ROUTED.fullmatch(reply.lines[0]), f"not the router's: {reply}"
            self.routed.append(Routed(envelope.mail, tuple(envelope.rcpts), content))

    def _take_envelope(self) -> _Envelope:
        envelope = self._envelope
        assert envelope
        assert envelope.rcpts
        self._envelope = None
        return envelope

    def _expect(self, code: int) -> None:
        reply = self._next()
        assert reply.code == code, f"{reply} for {code}, behind octet {self._at}"
        assert not _ROUTED.fullmatch(reply.lines[0]), "routed, and should not have been"


def _whole_lines(content: bytes) -> bytes:
    """Content as it is passed on: what came by BDAT may lack the CRLF at its end."""
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"
