"""What a client says and what it hears: the state of one session, without any I/O.

    on(event) → Answer | StartTls | Receive | LogIn | Submit

| verb | before EHLO | before AUTH | logged in | inside a transaction |
|---|---|---|---|---|
| EHLO, HELO | yes | yes | yes | yes, ends the transaction |
| STARTTLS | yes, once; forgets all that was said | the same | the same | the same |
| AUTH | 503 | yes, once | 503 | 503 |
| MAIL | 503 | 530 | yes | 503 |
| RCPT | 503 | 503 | 503 | yes |
| DATA | 503 | 503 | 503 | yes, after RCPT |
| BDAT | 503 | 503 | 503 | yes, after RCPT |
| RSET, NOOP, VRFY, EXPN, HELP, QUIT | yes | yes | yes | yes |

With `require_tls`, AUTH and MAIL are 530 until STARTTLS.

Source: RFC 5321 4.1.4, RFC 4954 4, RFC 3207 4.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from smtp_router.core.address import is_ehlo_name, is_loopback
from smtp_router.core.headers import count_fields
from smtp_router.core.message import NO_PARAMETERS, TLS, Parameters
from smtp_router.core.reply import Reply
from smtp_router.smtp import login
from smtp_router.smtp.commands import (
    TOO_LONG,
    ChunkArgument,
    Command,
    Refused,
    parse_bdat,
    parse_command,
    parse_mail,
    parse_rcpt,
)
from smtp_router.smtp.dots import unstuff
from smtp_router.smtp.newlines import has_bare_newlines
from smtp_router.smtp.site import Site
from smtp_router.smtp.steps import Answer, LogIn, Receive, StartTls, Step, Submit, answer
from smtp_router.smtp.wire import (
    Chunk,
    CommandLine,
    Content,
    ContentTooBig,
    Event,
    LineTooLong,
)

MAX_RECEIVED_FIELDS = 100
"""As many and the message goes in circles (RFC 5321 6.3)."""
MAX_UNKNOWN_COMMANDS = 20
HTTP_VERBS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""A browser that was talked into speaking to us: what it sends next could be SMTP."""
MAX_FAILED_LOGINS = 5

OK = Reply(code=250, enhanced="2.0.0", text="OK")
BARE_NEWLINES = Reply(code=550, enhanced="5.6.0", text="Content has a bare CR, a bare LF or a NUL")
LOOP = Reply(code=554, enhanced="5.4.6", text="The message goes in circles")


@dataclass(slots=True)
class _Transaction:
    """What MAIL and RCPT have said so far."""

    mail_from: str
    mail_parameters: Parameters
    rcpt_tos: list[str] = field(default_factory=list)
    rcpt_parameters: list[Parameters] = field(default_factory=list)
    chunks: bytearray | None = None
    failed: bool = False


class Conversation:
    """The state of one session."""

    def __init__(
        self,
        site: Site,
        peer: str,
        *,
        tls: TLS | None = None,
        offer_starttls: bool = False,
        require_tls: bool = False,
    ) -> None:
        """Nothing is said yet.

        Args:
            site: the router: what it offers, and what it lets whom do.
            peer: the client's address.
            tls: how the connection is encrypted from the start.
            offer_starttls: whether it can be encrypted later.
            require_tls: whether it has to be, before AUTH and MAIL.
        """
        self._site = site
        self._peer = peer
        self._offer_starttls = offer_starttls
        self._require_tls = require_tls
        self.tls = tls
        """How the connection is encrypted; `None` in clear text."""
        self.ehlo = ""
        """The name the client gave; empty before EHLO or HELO."""
        self.esmtp = False
        """Whether it was EHLO."""
        self.user = site.user_at(peer)
        """The login name, once there is one; at once for a client from a user's network."""
        self.authenticated = False
        """Whether there was a login."""
        self._transaction: _Transaction | None = None
        self._transactions = 0
        self._chunk: tuple[ChunkArgument, Reply | None] | None = None
        self._unknown_commands = 0
        self._failed_logins = 0
        self._verbs: dict[str, Callable[[bytes], Reply | Step]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "EXPN": self._expn,
            "HELP": self._help,
            "QUIT": self._quit,
        }

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL was said, and neither DATA finished nor RSET came."""
        return self._transaction is not None

    def on(self, event: Event) -> Step:
        """What to do about an event."""
        try:
            step = self._on(event)
        except Refused as refused:
            step = refused.reply
        return answer(step) if isinstance(step, Reply) else step

    def reset(self) -> None:
        """Forget the transaction; the login stays."""
        self._transaction = None

    def started_tls(self, tls: TLS) -> None:
        """Note that the connection is encrypted now, and forget everything from before."""
        self.tls = tls
        self.ehlo = ""
        self.esmtp = False
        self.user = self._site.user_at(self._peer)
        self.authenticated = False
        self.reset()

    def logged_in(self, user: str | None) -> Answer:
        """Note how a login ended.

        Args:
            user: the login name, or `None` when it was refused.
        """
        if user is not None:
            self.user = user
            self.authenticated = True
            return answer(login.SUCCESS)
        self._failed_logins += 1
        if self._failed_logins >= MAX_FAILED_LOGINS:
            reply = Reply(code=421, enhanced="4.7.0", text="Too many failed logins")
            return answer(reply, close=True)
        return answer(login.FAILURE)

    def _on(self, event: Event) -> Reply | Step:
        match event:
            case CommandLine(octets):
                return self._command(parse_command(octets))
            case Content(wire):
                return self._content(unstuff(wire))
            case Chunk(octets):
                return self._chunk_received(octets)
            case LineTooLong():
                return TOO_LONG
            case ContentTooBig():
                self.reset()
                return self._too_big()

    def _command(self, command: Command) -> Reply | Step:
        handler = self._verbs.get(command.verb)
        if handler is not None:
            return handler(command.argument)
        if command.verb in HTTP_VERBS:
            return answer(Reply(code=421, enhanced="4.7.0", text="This is SMTP"), close=True)
        self._unknown_commands += 1
        if self._unknown_commands >= MAX_UNKNOWN_COMMANDS:
            reply = Reply(code=421, enhanced="4.7.0", text="Too many unknown commands")
            return answer(reply, close=True)
        raise Refused(500, "5.5.1", "Unknown command")

    def _ehlo(self, argument: bytes) -> Answer:
        self._greet(argument, esmtp=True)
        settings = self._site.settings
        lines = [
            settings.hostname,
            "PIPELINING",
            f"SIZE {settings.max_message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "DSN",
            f"LIMITS MAILMAX={settings.max_transactions} RCPTMAX={settings.max_recipients}",
        ]
        if self.tls is not None:
            lines.append("REQUIRETLS")
        if self._offer_starttls and self.tls is None:
            lines.append("STARTTLS")
        if self._may_log_in():
            lines.append(f"AUTH {' '.join(self._site.mechanisms)}")
        *others, last = lines
        return Answer("".join([*(f"250-{line}\r\n" for line in others), f"250 {last}\r\n"]).encode())

    def _helo(self, argument: bytes) -> Answer:
        self._greet(argument, esmtp=False)
        return Answer(f"250 {self._site.settings.hostname}\r\n".encode())

    def _greet(self, name: bytes, *, esmtp: bool) -> None:
        if not is_ehlo_name(name):
            raise Refused(501, "5.5.4", "Syntax: EHLO name")
        self.reset()
        self.ehlo = name.decode("ascii")
        self.esmtp = esmtp

    def _may_log_in(self) -> bool:
        """In clear text only from this machine, unless the configuration says otherwise."""
        if self.tls is None and self._require_tls:
            return False
        local = not self._peer or is_loopback(self._peer)  # no address: a Unix socket
        return self.tls is not None or local or self._site.settings.allow_plaintext_auth

    def _starttls(self, argument: bytes) -> StartTls:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: STARTTLS")
        if self.tls is not None:
            raise Refused(503, "5.5.1", "The connection is encrypted already")
        if not self._offer_starttls:
            raise Refused(502, "5.5.1", "STARTTLS is not offered here")
        return StartTls()

    def _check_tls(self) -> None:
        if self._require_tls and self.tls is None:
            raise Refused(530, "5.7.0", "Say STARTTLS first")

    def _auth(self, argument: bytes) -> LogIn:
        mechanism, _, initial = argument.partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        if not self.ehlo or not self.esmtp:
            raise Refused(503, "5.5.1", "Say EHLO first")
        self._check_tls()
        if self.authenticated:
            raise Refused(503, "5.5.1", "Already authenticated")
        if not self._may_log_in():
            raise Refused(538, "5.7.11", "Encryption is required for authentication")
        if name not in self._site.mechanisms:
            raise Refused(504, "5.5.4", f"Mechanisms: {' '.join(self._site.mechanisms)}")
        if b" " in initial:
            raise Refused(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
        return LogIn(name, initial or None)

    def _mail(self, argument: bytes) -> Reply | Answer:
        if not self.ehlo:
            raise Refused(503, "5.5.1", "Say EHLO first")
        self._check_tls()
        if self.user is None:
            raise Refused(530, "5.7.0", "Authentication required")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "The sender is given already")
        max_bytes = self._site.settings.max_message_bytes
        if self._transactions >= self._site.settings.max_transactions:
            reply = Reply(code=421, enhanced="4.7.0", text="Enough messages for one session")
            return answer(reply, close=True)
        parsed = parse_mail(argument, esmtp=self.esmtp, tls=self.tls is not None, max_bytes=max_bytes)
        refusal = self._site.mail_refusal(self.user, parsed.address)
        if refusal is not None:
            return refusal
        self._transactions += 1
        self._transaction = _Transaction(parsed.address, parsed.parameters)
        return Reply(code=250, enhanced="2.1.0", text="Sender OK")

    def _rcpt(self, argument: bytes) -> Reply:
        transaction = self._transaction
        if transaction is None:
            raise Refused(503, "5.5.1", "Say MAIL first")
        utf8 = "SMTPUTF8" in transaction.mail_parameters
        parsed = parse_rcpt(argument, esmtp=self.esmtp, utf8=utf8)
        if len(transaction.rcpt_tos) >= self._site.settings.max_recipients:
            raise Refused(452, "4.5.3", "Too many recipients")
        transaction.rcpt_tos.append(parsed.address)
        transaction.rcpt_parameters.append(parsed.parameters)
        return Reply(code=250, enhanced="2.1.5", text="Recipient OK")

    def _data(self, argument: bytes) -> Answer:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: DATA")
        if self._transaction is None or not self._transaction.rcpt_tos:
            raise Refused(503, "5.5.1", "Say MAIL and RCPT first")
        if self._transaction.chunks is not None or self._transaction.failed:
            raise Refused(503, "5.5.1", "Not after BDAT")
        return Answer(b"354 End data with <CR><LF>.<CR><LF>\r\n", content=True)

    def _bdat(self, argument: bytes) -> Answer | Receive:
        """The chunk comes whatever we think of it, so it is taken off the wire before the answer.

        Where its length cannot be read, it would pass for commands: the connection ends.
        """
        try:
            parsed = parse_bdat(argument)
        except Refused as refused:
            return answer(refused.reply, close=True)
        transaction = self._transaction
        refusal = None
        if transaction is None or not transaction.rcpt_tos or transaction.failed:
            refusal = Reply(code=503, enhanced="5.5.1", text="Say MAIL and RCPT first")
        elif len(transaction.chunks or b"") + parsed.octets > self._site.settings.max_message_bytes:
            refusal = self._too_big()
        self._chunk = (parsed, refusal)
        return Receive(parsed.octets, keep=refusal is None)

    def _chunk_received(self, octets: bytes) -> Reply | Submit:
        assert self._chunk is not None
        (argument, refusal), self._chunk = self._chunk, None
        transaction = self._transaction
        if refusal is not None:
            if transaction is not None:
                transaction.failed = True
                transaction.chunks = None
            if argument.last:
                self.reset()
            return refusal
        assert transaction is not None
        if transaction.chunks is None:
            transaction.chunks = bytearray()  # no list: a client may send an octet at a time
        transaction.chunks += octets
        if argument.last:
            return self._content(bytes(transaction.chunks))
        return Reply(code=250, enhanced="2.0.0", text=f"{len(octets)} octets received")

    def _too_big(self) -> Reply:
        limit = self._site.settings.max_message_bytes
        return Reply(code=552, enhanced="5.3.4", text=f"The message is bigger than {limit} octets")

    def _content(self, content: bytes) -> Reply | Submit:
        transaction = self._transaction or _Transaction("", NO_PARAMETERS)
        self.reset()
        if self._site.settings.bare_newlines == "reject" and has_bare_newlines(content):
            return BARE_NEWLINES
        if count_fields(content, b"Received") >= MAX_RECEIVED_FIELDS:
            return LOOP
        return Submit(
            mail_from=transaction.mail_from,
            rcpt_tos=tuple(transaction.rcpt_tos),
            mail_parameters=transaction.mail_parameters,
            rcpt_parameters=tuple(transaction.rcpt_parameters),
            content=content,
        )

    def _rset(self, argument: bytes) -> Reply:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: RSET")
        self.reset()
        return OK

    def _noop(self, argument: bytes) -> Reply:
        del argument
        return OK

    def _vrfy(self, argument: bytes) -> Reply:
        del argument
        return Reply(code=252, enhanced="2.5.0", text="Send the mail, and the downstream will tell")

    def _expn(self, argument: bytes) -> Reply:
        del argument
        raise Refused(502, "5.5.1", "EXPN is not implemented")

    def _help(self, argument: bytes) -> Reply:
        del argument
        return Reply(code=214, enhanced="2.0.0", text=f"Commands: {' '.join(self._verbs)}")

    def _quit(self, argument: bytes) -> Answer:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: QUIT")
        return answer(Reply(code=221, enhanced="2.0.0", text="Bye"), close=True)
