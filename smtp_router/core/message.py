"""A message on its way, as a plugin sees it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from smtp_router.core.content import Stuffed, head_of, stuff, unstuff
from smtp_router.core.draft import draft_of
from smtp_router.core.headers import Headers, format_field

Parameters = Mapping[str, str | None]
"""ESMTP parameters of one command: keyword in upper case → value exactly as given, `None` without."""

NO_PARAMETERS: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """How a session is encrypted.

    Args:
        version: as in `TLSv1.3`.
        cipher: the cipher suite's name.
    """

    version: str
    cipher: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The connection that a message came over.

    Args:
        peer: the client's address, without port or brackets.
        peer_port: the client's port.
        ehlo: the name that the client gave in EHLO or HELO.
        esmtp: whether it was EHLO.
        tls: `None` in clear text.
        authenticated: whether the client has logged in; one from a user's `networks` need not.
    """

    peer: str = ""
    peer_port: int = 0
    ehlo: str = ""
    esmtp: bool = True
    tls: TLS | None = None
    authenticated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One transaction: envelope and content, with the session it came over.

    Args:
        id: the router's id, in every log line and in `Received:`.
        user: the login name.
        session: the client's connection.
        received_at: when the final dot came in, with a time zone.
        mail_from: the reverse-path without brackets, as the client gave it; `""` is the null one.
        rcpt_tos: the recipients without brackets, as the client gave them.
        mail_parameters: of MAIL.
        rcpt_parameters: of each RCPT, in the order of `rcpt_tos`; empty when there are none.
        content: header and body as received: exact octets, CRLF, dots un-stuffed. Made from what came
            over the wire when it is first read; a message that nobody reads or changes is passed on in
            the form it came in.

    Source: RFC 5321 2.3.1, 4.1.2.
    """

    id: str
    user: str
    mail_from: str
    rcpt_tos: tuple[str, ...]
    content: bytes = field(repr=False)
    session: Session = field(default_factory=Session)
    received_at: datetime
    mail_parameters: Parameters = field(default_factory=lambda: NO_PARAMETERS, hash=False)
    rcpt_parameters: tuple[Parameters, ...] = field(default=(), hash=False)
    _headers: Headers | None = field(default=None, init=False, repr=False, compare=False)
    _stuffed: Stuffed | None = field(init=False, repr=False, compare=False)  # `_Content` sets it
    size: int = field(init=False, repr=False, compare=False)  # and this
    """The content's size in octets."""

    @property
    def headers(self) -> Headers:
        """The content's header fields, parsed when they are first asked for."""
        if self._headers is None:
            head = unstuff(head_of(self._stuffed.pieces)) if self._stuffed else self.content
            object.__setattr__(self, "_headers", Headers(head))
        assert self._headers is not None
        return self._headers

    def with_header(self, name: str, value: str) -> Self:
        """This message with one more header field, above all others.

        Raises:
            ValueError: not a field name, or a control character in the value.
        """
        field = format_field(name, value)
        if self._stuffed is None:
            return self.replace(content=field + self.content)
        return received(  # type: ignore[return-value]  # a message is none of a subclass
            self._stuffed.below(field),
            self.id,
            self.user,
            self.mail_from,
            self.rcpt_tos,
            self.received_at,
            self.session,
            self.mail_parameters,
            self.rcpt_parameters,
        )

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401 - any field of the class
        """This message with some fields changed.

        Raises:
            TypeError: there is no such field.
        """
        if self._stuffed:
            changes.setdefault("content", self._stuffed)
        return dataclasses.replace(self, **changes)


class _Content:
    """The attribute `content`: octets, made of what came over the wire when they are first read.

    Not `__getattr__`: a class that has one makes the interpreter look up every other attribute slowly.
    """

    def __init__(self, slot: Any) -> None:  # noqa: ANN401 - a type without a name
        self._slot = slot

    def __get__(self, message: Message | None, owner: object = None) -> object:
        if message is None:
            return self._slot
        try:
            return self._slot.__get__(message)
        except AttributeError:  # not read yet
            assert message._stuffed is not None  # noqa: SLF001 - its other half
            content = message._stuffed.content()  # noqa: SLF001 - as above
            self._slot.__set__(message, content)
            return content

    def __set__(self, message: Message, given: object) -> None:
        stuffed, size = None, 0
        if isinstance(given, Stuffed):
            stuffed, size = given, given.size
        else:
            self._slot.__set__(message, given)
            if isinstance(given, bytes):  # or it is a plugin's mistake
                size = len(given)
        object.__setattr__(message, "_stuffed", stuffed)
        object.__setattr__(message, "size", size)


if not TYPE_CHECKING:
    Message.content = _Content(Message.content)


_NOWHERE = Session()


_SessionDraft = draft_of(Session)


def met(
    peer: tuple[str, int], ehlo: str, tls: TLS | None, *, esmtp: bool, authenticated: bool
) -> Session:
    """The session of a client at this address and port, who has said all this."""
    draft = _SessionDraft()
    draft.peer, draft.peer_port = peer
    draft.ehlo = ehlo
    draft.esmtp = esmtp
    draft.tls = tls
    draft.authenticated = authenticated
    draft.__class__ = Session
    session: Session = draft
    return session


_Draft = draft_of(Message)


def received(  # noqa: PLR0917 - with keywords it takes a tenth of a microsecond longer to call
    content: Stuffed,
    id: str,  # noqa: A002 - as the field is called
    user: str,
    mail_from: str,
    rcpt_tos: tuple[str, ...],
    received_at: datetime,
    session: Session = _NOWHERE,
    mail_parameters: Parameters = NO_PARAMETERS,
    rcpt_parameters: tuple[Parameters, ...] = (),
) -> Message:
    """A message whose content came over the wire, and is kept as it came."""
    draft = _Draft()
    draft.id = id
    draft.user = user
    draft.mail_from = mail_from
    draft.rcpt_tos = rcpt_tos
    draft.session = session
    draft.received_at = received_at
    draft.mail_parameters = mail_parameters
    draft.rcpt_parameters = rcpt_parameters
    draft._headers = None  # noqa: SLF001 - `content` is made when it is read
    draft._stuffed = content  # noqa: SLF001 - as above
    draft.size = content.size
    draft.__class__ = Message
    message: Message = draft
    return message


def on_the_wire(message: Message) -> Stuffed:
    """A message's content as it goes over the wire: as it came, where nobody has changed it."""
    return message._stuffed or stuff(message.content)  # noqa: SLF001 - its other half


def has_octets(message: Message) -> bool:
    """Whether a message's content is octets, without making it if it came over the wire and stays so."""
    if message._stuffed is not None:  # noqa: SLF001 - as above
        return True
    content: object = message.content
    return isinstance(content, bytes)
