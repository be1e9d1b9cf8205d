"""What a session answers, and what it routes, in as few words as there are: RFC 5321, and our limits.

It reads no octets. Each method is one thing that a client says, and returns the reply codes to it; for
what comes in several steps, the codes up to the end. A session that has ended answers nothing.
"""

import re
from dataclasses import dataclass, field

MAX_UNKNOWN = 20
MAX_FAILED_LOGINS = 5
MAX_RECEIVED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is configured."""

    octets: int
    recipients: int
    transactions: int
    failures: int
    strict: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """What was routed."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class Model:
    """One session."""

    limits: Limits
    answers: dict[str, int]
    """By sender, how the router answers; else 250."""
    ended: bool = False
    greeted: bool = False
    extended: bool = False
    logged_in: bool = False
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    chunks: bytes | None = None
    spoilt: bool = False
    transactions: int = 0
    unknown: int = 0
    failed: int = 0
    routed: list[Mail] = field(default_factory=list)

    def _reset(self) -> None:
        self.sender, self.recipients, self.chunks, self.spoilt = None, [], None, False

    def _end(self, code: int) -> int:
        self.ended = True
        return code

    def greet(self, *, extended: bool) -> int:
        """EHLO or HELO with a name."""
        self._reset()
        self.greeted, self.extended = True, extended
        return 250

    def may_log_in(self, *, known: bool) -> int | None:
        """AUTH with a mechanism: the refusal, or `None` when the exchange begins."""
        if not (self.greeted and self.extended) or self.logged_in:
            return 503
        if not known:
            return 504
        if self.failed >= 2 * self.limits.failures:
            return self._end(421)
        return None

    def log_in(self, *, right: bool) -> int:
        """The end of an exchange that was neither given up nor garbled."""
        if right:
            self.logged_in = True
            return 235
        self.failed += 1
        return self._end(421) if self.failed >= MAX_FAILED_LOGINS else 535

    def mail(self, sender: str, refusal: int | None, *, parameters: bool) -> int:
        """MAIL; `refusal` is what its form deserves."""
        if not self.greeted or self.sender is not None:
            return 503
        if not self.logged_in:
            return 530
        if self.transactions >= self.limits.transactions:
            return self._end(421)
        if parameters and not self.extended:
            return 555
        if refusal:
            return refusal
        self.transactions += 1
        self.sender = sender
        return 250

    def rcpt(self, recipient: str, refusal: int | None, *, parameters: bool) -> int:
        """RCPT; `refusal` is what its form deserves."""
        if self.sender is None:
            return 503
        if parameters and not self.extended:
            return 555
        if refusal:
            return refusal
        if len(self.recipients) >= self.limits.recipients:
            return 452
        self.recipients.append(recipient)
        return 250

    def data(self) -> int:
        """DATA; behind 354 comes `content`."""
        return 354 if self.recipients and self.chunks is None and not self.spoilt else 503

    def content(self, content: bytes) -> int:
        """Content, dots no longer doubled."""
        mail = Mail(self.sender or "", tuple(self.recipients), content)
        self._reset()
        if len(content) > self.limits.octets:
            return 552
        if self.limits.strict and re.search(rb"\0|(?<!\r)\n|\r(?!\n)", content):
            return 550
        header = re.split(rb"\n\r?\n", b"\n" + content)[0]
        if header.count(b"\nReceived:") >= MAX_RECEIVED:
            return 554
        self.routed.append(mail)
        return self.answers.get(mail.sender, 250)

    def chunk(self, octets: bytes, *, last: bool) -> int:
        """BDAT with its octets."""
        if not self.recipients or self.spoilt:
            code = 503
        elif len(self.chunks or b"") + len(octets) > self.limits.octets:
            code = 552
        else:
            self.chunks = (self.chunks or b"") + octets
            return self.content(self.chunks) if last else 250
        self.spoilt, self.chunks = self.sender is not None, None
        if last:
            self._reset()
        return code

    def rset(self) -> int:
        """RSET."""
        self._reset()
        return 250

    def no_command(self) -> int:
        """A verb that there is not."""
        self.unknown += 1
        return self._end(421) if self.unknown >= MAX_UNKNOWN else 500

    def good_bye(self, code: int) -> int:
        """What ends every session: QUIT, a chunk of unknown length, HTTP."""
        return self._end(code)
