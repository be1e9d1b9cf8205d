"""What a client says and what it hears: the state of one session, without any I/O.

    on(event) → Answer | StartTls | Receive | LogIn | Message

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

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from smtp_router.config.settings import Settings
from smtp_router.core.address import is_ehlo_name, is_loopback
from smtp_router.core.content import Stuffed
from smtp_router.core.layout import laid_out
from smtp_router.core.message import NO_PARAMETERS, TLS, Message, Parameters, Session, met, received
from smtp_router.core.reply import Reply
from smtp_router.smtp import login
from smtp_router.smtp.body import Body
from smtp_router.smtp.commands import (
    TOO_LONG,
    ChunkArgument,
    Refused,
    declared_octets,
    parse_bdat,
    parse_command,
    parse_mail,
    parse_rcpt,
    plain_rcpt,
)
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.steps import Answer, LogIn, Receive, StartTls, Step, answer
from smtp_router.smtp.transaction import NO_ROOM, Transaction, too_big
from smtp_router.smtp.wire import MAX_LINE_OCTETS, Event, Mark

MAX_UNKNOWN_COMMANDS = 20
LOCAL = "127.0.0.1"
"""Where clients of a Unix socket are, which have no address."""
HTTP_VERBS = frozenset(b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
"""A browser that was talked into speaking to us: what it sends next could be SMTP."""
MAX_FAILED_LOGINS = 5

OK = answer(Reply(code=250, enhanced="2.0.0", text="OK"))
SENDER_OK = answer(Reply(code=250, enhanced="2.1.0", text="Sender OK"))
RECIPIENT_OK = answer(Reply(code=250, enhanced="2.1.5", text="Recipient OK"))
BYE = answer(Reply(code=221, enhanced="2.0.0", text="Bye"), close=True)
LOGGED_IN = answer(login.SUCCESS)
BEHIND_BDAT = answer(Reply(code=503, enhanced="5.5.1", text="Not after BDAT"))
EHLO_SYNTAX = "Syntax: EHLO name"
STARTTLS_FIRST = "Say STARTTLS first"
GO_AHEAD = Answer(b"354 End data with <CR><LF>.<CR><LF>\r\n")
DATA = (b"DATA\r\n", b"data\r\n")
QUIT = (b"QUIT\r\n", b"quit\r\n")
_AUTH_PLAIN = b"AUTH PLAIN "
_AROUND_RESPONSE = len(_AUTH_PLAIN) + len(b"\r\n")

AtOnce: TypeAlias = Callable[["Conversation", bytes], Step | None]


@laid_out
class Conversation:
    """The state of one session."""

    # How every session begins. What nearly all of them read before they set it is not here: to read it
    # off the class takes four times as long as off the session itself.

    ehlo = ""
    """The name the client gave; empty before EHLO or HELO."""
    esmtp = False
    """Whether it was EHLO."""
    authenticated = False
    """Whether there was a login."""
    _may_log_in = False  # as the last EHLO has said
    _session: Session | None = None
    _transaction: Transaction | None = None
    _chunk: tuple[ChunkArgument, Reply | None] | None = None
    _unknown_commands = 0
    _failed_logins = 0

    def __init__(self, offer: Offer, peer: tuple[str, int], tls: TLS | None = None) -> None:
        """Nothing is said yet.

        Args:
            offer: what the listener offers.
            peer: the client's address and port.
            tls: how the connection is encrypted from the start.
        """
        self._offer = offer
        self._site = site = offer.site
        self._peer = peer
        self.tls = tls
        """How the connection is encrypted; `None` in clear text."""
        self._needs_tls = tls is None and offer.require_tls  # before AUTH and MAIL
        user_at = site.user_at  # an attribute, and to call one as a method takes half as long again
        self.user = user_at(peer[0])
        """The login name, once there is one; at once for a client from a user's network."""
        self.counted_as: str | None = None
        """The user whose session the guard counts this as: to be counted off when it ends."""
        self._transactions = 0

    @property
    def session(self) -> Session:
        """The session as messages tell it."""
        return self._session or self._met()

    def _met(self) -> Session:
        self._session = session = met(
            self._peer, self.ehlo, self.tls, esmtp=self.esmtp, authenticated=self.authenticated
        )
        return session

    @property
    def awaits_content(self) -> bool:
        """Whether DATA was answered, and nothing has come since."""
        return self.at_once is _WHOLE_CONTENT

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL was said, and neither DATA finished nor RSET came."""
        return self._transaction is not None

    @property
    def held_octets(self) -> int:
        """How much content is in memory."""
        transaction = self._transaction
        if transaction is None or transaction.body is None:
            return 0
        return transaction.body.held_octets

    def _usual_ehlo(self, command: bytes) -> Step | None:
        recall = self._offer.recall
        name = recall.names.get(command) or recall.name(command)
        return self._alone(command) if name is None else self._greeted(name)

    at_once: AtOnce = staticmethod(_usual_ehlo)
    """What to do about octets that are one command, or all of the content; as most segments are.

    From clients that wait for each reply. What is usual next and in order is recognised as a whole, in a
    third of the time that a `Wire` and the steps of `on` take; the rest is left to these. It is called
    with the conversation: a method that is bound to it would be a circle.

    Returns:
        `None`: they are to be cut by a `Wire`, behind `begin_content` if content is awaited.
    """
    _between: AtOnce = staticmethod(_usual_ehlo)  # outside of transactions

    def _usual_auth(self, command: bytes) -> Step | None:
        response = command.removeprefix(_AUTH_PLAIN).removesuffix(b"\r\n")
        if len(response) == len(command) - _AROUND_RESPONSE:  # as quick as a look for one of both
            site = self._site
            user = site.known(response)
            if user is not None and not site.guard.has_failed(self._peer[0]):
                return self.logged_in(user)
        return self._alone(command)

    def _usual_mail(self, command: bytes) -> Step | None:
        recall = self._offer.recall
        found = recall.mails.get(command)
        if found is None:
            if command in QUIT:
                return BYE
            found = recall.mail(command)
            if found is None:
                return self._alone(command)
        settings = self._site.settings
        if self._transactions >= settings.max_transactions:
            return self._alone(command)
        address, parameters = found
        if parameters and declared_octets(parameters) > settings.max_message_bytes:
            return self._alone(command)
        return self._begin(address, parameters, settings)

    def _usual_rcpt(self, command: bytes) -> Step | None:
        transaction = self._transaction
        assert transaction is not None
        rcpt_tos = transaction.rcpt_tos
        if rcpt_tos and command in DATA:
            return self._go_ahead(transaction)
        address = plain_rcpt(command)
        if address is None or len(rcpt_tos) >= transaction.settings.max_recipients:
            return self._alone(command)
        rcpt_tos.append(address)
        transaction.rcpt_parameters.append(NO_PARAMETERS)
        return RECIPIENT_OK

    def _whole_content(self, segment: bytes) -> Message | None:
        transaction = self._transaction
        assert transaction is not None
        if self._site.guard.is_full():
            return None
        content = transaction.end_at_once(segment, self._offer.line_ends)
        if content is None:
            return None
        self._transaction = None
        self.at_once = self._between
        return self._message(transaction, content)

    def _alone(self, segment: bytes) -> Step | None:
        line, end, more = segment.partition(b"\r\n")
        return self.on(line) if end and not more and len(segment) <= MAX_LINE_OCTETS else None

    def on(self, event: Event) -> Step:
        """What to do about an event."""
        try:
            if not isinstance(event, bytes):
                return self._ended(event)
            handler = self._VERBS.get(event)  # a verb alone, as many are
            return handler(self, b"") if handler is not None else self._command(event)
        except Refused as refused:
            return answer(refused.reply)

    def begin_content(self) -> Body:
        """Where the content that is awaited goes, if it comes in pieces."""
        self.at_once = _USUAL_RCPT
        transaction = self._transaction
        assert transaction is not None
        max_bytes = transaction.settings.max_message_bytes
        transaction.body = body = Body(max_bytes, stuffed=True, is_full=self._site.guard.is_full)
        return body

    def _ended(self, mark: Mark) -> Step:
        match mark:
            case Mark.CONTENT:
                return self._content_received()
            case Mark.CHUNK:
                return self._chunk_received()
            case Mark.LINE_TOO_LONG:
                return answer(TOO_LONG)

    def _content_received(self) -> Answer | Message:
        transaction = self._transaction
        assert transaction is not None
        self.reset()
        result = transaction.end()
        return answer(result) if isinstance(result, Reply) else self._message(transaction, result)

    def _message(self, transaction: Transaction, content: Stuffed) -> Message:
        site = self._site
        wall_clock = site.wall_clock
        return received(
            content,
            site.new_id(),
            self.user or "",
            transaction.mail_from,
            tuple(transaction.rcpt_tos),
            wall_clock(),
            self._session or self._met(),
            transaction.mail_parameters,
            tuple(transaction.rcpt_parameters),
        )

    def reset(self) -> None:
        """Forget the transaction; the login stays."""
        self._transaction = None
        self.at_once = self._between

    def started_tls(self, tls: TLS) -> None:
        """Note that the connection is encrypted now, and forget everything from before."""
        self.tls = tls
        self._needs_tls = False
        self.ehlo = ""
        self.esmtp = False
        self.user = self._site.user_at(self._peer[0])
        self.count(self.user)
        self.authenticated = False
        self._session = None
        self._between = _USUAL_EHLO
        self.reset()

    def count(self, user: str | None) -> Reply | None:
        """Count the session as this user's only; the reply to refuse it with, if there are too many."""
        site = self._site
        if self.counted_as is not None:
            site.guard.logged_out(self.counted_as)
        self.counted_as = user
        return None if user is None else site.guard.logged_in(user, site.max_sessions(user))

    def logged_in(self, user: str | None) -> Answer:
        """Note how a login ended.

        Args:
            user: the login name, or `None` when it was refused.
        """
        if user is not None:
            refusal = self.count(user)
            if refusal is not None:
                return answer(refusal, close=True)
            self.user = user
            self.authenticated = True
            self._session = None
            self._between = _USUAL_MAIL
            if self._transaction is None:  # whose network is a user's may log in amid one
                self.at_once = _USUAL_MAIL
            return LOGGED_IN
        self._failed_logins += 1
        if self._failed_logins >= MAX_FAILED_LOGINS:
            reply = Reply(code=421, enhanced="4.7.0", text="Too many failed logins")
            return answer(reply, close=True)
        return answer(login.FAILURE)

    def _command(self, line: bytes) -> Step:
        verb, argument = parse_command(line)
        handler = self._VERBS.get(verb)
        if handler is not None:
            return handler(self, argument)
        if verb in HTTP_VERBS:
            return answer(Reply(code=421, enhanced="4.7.0", text="This is SMTP"), close=True)
        self._unknown_commands += 1
        if self._unknown_commands >= MAX_UNKNOWN_COMMANDS:
            reply = Reply(code=421, enhanced="4.7.0", text="Too many unknown commands")
            return answer(reply, close=True)
        raise Refused(500, "5.5.1", "Unknown command")

    def _ehlo(self, argument: bytes) -> Answer:
        if not is_ehlo_name(argument):
            raise Refused(501, "5.5.4", EHLO_SYNTAX)
        return self._greeted(argument.decode("ascii"))

    def _greeted(self, name: str) -> Answer:
        """The client has said who it is, which ends a transaction."""
        needs_tls, encrypted = self._needs_tls, self.tls is not None
        # In clear text only from this machine, unless the configuration says otherwise.
        may_log_in = self._may_log_in = not needs_tls and (
            encrypted or is_loopback(self._peer[0] or LOCAL) or self._site.settings.allow_plaintext_auth
        )
        self.ehlo = name
        self.esmtp = True
        self._session = self._transaction = None
        if self.user is not None and not needs_tls:
            self.at_once = self._between = _USUAL_MAIL
        elif may_log_in:
            self.at_once = self._between = _USUAL_AUTH
        else:
            self.at_once = self._between = _USUAL_EHLO
        return self._offer.ehlo()[encrypted][may_log_in]

    def _helo(self, argument: bytes) -> Answer:
        if not is_ehlo_name(argument):
            raise Refused(501, "5.5.4", EHLO_SYNTAX)
        self._greeted(argument.decode("ascii"))
        self.esmtp = False
        self.at_once = self._between = _USUAL_EHLO
        return Answer(f"250 {self._site.settings.hostname}\r\n".encode())

    def _starttls(self, argument: bytes) -> StartTls:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: STARTTLS")
        if self.tls is not None:
            raise Refused(503, "5.5.1", "The connection is encrypted already")
        if not self._offer.starttls:
            raise Refused(502, "5.5.1", "STARTTLS is not offered here")
        return StartTls()

    def _auth(self, argument: bytes) -> LogIn:
        if not self.ehlo or not self.esmtp:
            raise Refused(503, "5.5.1", "Say EHLO first")
        if self._needs_tls:
            raise Refused(530, "5.7.0", STARTTLS_FIRST)
        if self.authenticated:
            raise Refused(503, "5.5.1", "Already authenticated")
        if not self._may_log_in:
            raise Refused(538, "5.7.11", "Encryption is required for authentication")
        mechanism, _, initial = argument.partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        offered = self._site.mechanisms
        if name not in offered:
            raise Refused(504, "5.5.4", f"Mechanisms: {' '.join(offered)}")
        if initial.find(b" ") >= 0:  # `in` would take five times as long
            raise Refused(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
        return LogIn(name, initial or None)

    def _mail(self, argument: bytes) -> Answer:
        if not self.ehlo:
            raise Refused(503, "5.5.1", "Say EHLO first")
        if self._needs_tls:
            raise Refused(530, "5.7.0", STARTTLS_FIRST)
        if self.user is None:
            raise Refused(530, "5.7.0", "Authentication required")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "The sender is given already")
        settings = self._site.settings
        if self._transactions >= settings.max_transactions:
            reply = Reply(code=421, enhanced="4.7.0", text="Enough messages for one session")
            return answer(reply, close=True)
        address, parameters = parse_mail(
            argument,
            esmtp=self.esmtp,
            tls=self.tls is not None,
            max_bytes=settings.max_message_bytes,
        )
        return self._begin(address, parameters, settings)

    def _begin(self, address: str, parameters: Parameters, settings: Settings) -> Answer:
        refusal = self._site.mail_refusal(self.user or "", address)
        if refusal is not None:
            return answer(refusal)
        self._transactions += 1
        self._transaction = Transaction(address, parameters, settings)
        self.at_once = _USUAL_RCPT
        return SENDER_OK

    def _rcpt(self, argument: bytes) -> Answer:
        transaction = self._transaction
        if transaction is None:
            raise Refused(503, "5.5.1", "Say MAIL first")
        utf8 = "SMTPUTF8" in transaction.mail_parameters
        address, parameters = parse_rcpt(argument, esmtp=self.esmtp, utf8=utf8)
        if len(transaction.rcpt_tos) >= transaction.settings.max_recipients:
            raise Refused(452, "4.5.3", "Too many recipients")
        transaction.rcpt_tos.append(address)
        transaction.rcpt_parameters.append(parameters)
        return RECIPIENT_OK

    def _data(self, argument: bytes) -> Answer:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: DATA")
        transaction = self._transaction
        if transaction is None or not transaction.rcpt_tos:
            raise Refused(503, "5.5.1", "Say MAIL and RCPT first")
        return self._go_ahead(transaction)

    def _go_ahead(self, transaction: Transaction) -> Answer:
        if transaction.body is not None or transaction.failed:
            return BEHIND_BDAT
        if self._site.guard.is_full():
            return answer(NO_ROOM)
        self.at_once = _WHOLE_CONTENT
        return GO_AHEAD

    def _bdat(self, argument: bytes) -> Answer | Receive:
        """The chunk comes whatever we think of it, so it is taken off the wire before the answer.

        Where its length cannot be read, it would pass for commands: the connection ends.
        """
        try:
            parsed = parse_bdat(argument)
        except Refused as refused:
            return answer(refused.reply, close=True)
        transaction = self._transaction
        if transaction is None or not transaction.rcpt_tos or transaction.failed:
            refusal = Reply(code=503, enhanced="5.5.1", text="Say MAIL and RCPT first")
            return self._expect_chunk(parsed, refusal)
        settings = transaction.settings
        max_bytes = settings.max_message_bytes
        if transaction.body is None:
            transaction.body = Body(max_bytes, stuffed=False, is_full=self._site.guard.is_full)
        if transaction.body.octets + parsed.octets > max_bytes:
            return self._expect_chunk(parsed, too_big(settings))
        return self._expect_chunk(parsed, None, transaction.body)

    def _expect_chunk(
        self, parsed: ChunkArgument, refusal: Reply | None, body: Body | None = None
    ) -> Receive:
        self._chunk = (parsed, refusal)
        return Receive(parsed.octets, body)

    def _chunk_received(self) -> Answer | Message:
        assert self._chunk is not None
        (argument, refusal), self._chunk = self._chunk, None
        transaction = self._transaction
        if refusal is not None:
            if transaction is not None:
                transaction.failed = True
                transaction.body = None
            if argument.last:
                self.reset()
            return answer(refusal)
        assert transaction is not None
        assert transaction.body is not None
        if argument.last:
            return self._content_received()
        return answer(Reply(code=250, enhanced="2.0.0", text=f"{argument.octets} octets received"))

    def _rset(self, argument: bytes) -> Answer:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: RSET")
        self.reset()
        return OK

    def _noop(self, argument: bytes) -> Answer:
        del argument
        return OK

    def _vrfy(self, argument: bytes) -> Answer:
        del argument
        text = "Send the mail, and the downstream will tell"
        return answer(Reply(code=252, enhanced="2.5.0", text=text))

    def _expn(self, argument: bytes) -> Answer:
        del argument
        raise Refused(502, "5.5.1", "EXPN is not implemented")

    def _help(self, argument: bytes) -> Answer:
        del argument
        verbs = b" ".join(self._VERBS).decode("ascii")
        return answer(Reply(code=214, enhanced="2.0.0", text=f"Commands: {verbs}"))

    def _quit(self, argument: bytes) -> Answer:
        if argument:
            raise Refused(501, "5.5.4", "Syntax: QUIT")
        return BYE

    _VERBS: ClassVar[Mapping[bytes, Callable[["Conversation", bytes], Step]]] = MappingProxyType(
        {
            b"EHLO": _ehlo,
            b"HELO": _helo,
            b"STARTTLS": _starttls,
            b"AUTH": _auth,
            b"MAIL": _mail,
            b"RCPT": _rcpt,
            b"DATA": _data,
            b"BDAT": _bdat,
            b"RSET": _rset,
            b"NOOP": _noop,
            b"VRFY": _vrfy,
            b"EXPN": _expn,
            b"HELP": _help,
            b"QUIT": _quit,
        }
    )


# By these names they are found in a fifth of the time that it takes to look them up in their class.
_USUAL_EHLO: AtOnce = Conversation._usual_ehlo  # noqa: SLF001 - our own
_USUAL_AUTH: AtOnce = Conversation._usual_auth  # noqa: SLF001 - as above
_USUAL_MAIL: AtOnce = Conversation._usual_mail  # noqa: SLF001 - as above
_USUAL_RCPT: AtOnce = Conversation._usual_rcpt  # noqa: SLF001 - as above
_WHOLE_CONTENT: AtOnce = Conversation._whole_content  # noqa: SLF001 - as above
