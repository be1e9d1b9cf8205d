"""The parameters of MAIL and RCPT towards a downstream, and what it means if it lacks an extension.

Content is never converted, so a downstream without an extension that the message needs does not get it;
the next one may have it. A message that was declared to need one, and does not, goes on without.

| asked for by the client | downstream offers it | it does not |
|---|---|---|
| BODY=8BITMIME | passed on | `5.6.3`, unless the content is ASCII |
| SMTPUTF8 | passed on | `5.6.7`, unless envelope and header are ASCII |
| REQUIRETLS | passed on over verified TLS, else `5.7.30` | `5.7.30` |
| RET, ENVID, NOTIFY, ORCPT | passed on to the letter (DSN) | left out |
| AUTH | `AUTH=<>` | left out |

SIZE is the size of what is sent, where the downstream offers SIZE.

Source: RFC 6152 3, RFC 6531 3.6, RFC 8689 4.2, RFC 3461 5.2, RFC 4954 5, RFC 1870 6.
"""

from smtp_router.core.headers import header_end
from smtp_router.core.message import Message, Parameters, on_the_wire
from smtp_router.core.outcome import Deferred, Stage
from smtp_router.core.reply import Reply
from smtp_router.smtp.connection import AttemptEnded, Connection


def mail_parameters(connection: Connection, message: Message, size: int) -> list[bytes]:
    """The parameters of MAIL.

    Args:
        connection: to the downstream, open.
        message: what is to be sent.
        size: of the content as it will be sent, in octets.

    Raises:
        AttemptEnded: the downstream lacks something that the message needs.
    """
    parameters = [b"SIZE=%d" % size] if connection.offers("size") else []
    parameters += _body(connection, message)
    parameters += _utf8(connection, message)
    parameters += _require_tls(connection, message)
    if "AUTH" in message.mail_parameters and connection.offers("auth"):
        parameters.append(b"AUTH=<>")  # who the client says it is binds nobody behind us
    if connection.offers("dsn"):
        parameters += _verbatim(message.mail_parameters, ("RET", "ENVID"))
    return parameters


def rcpt_parameters(connection: Connection, message: Message, position: int) -> list[bytes]:
    """The parameters of the RCPT for the recipient at this position."""
    if not connection.offers("dsn") or position >= len(message.rcpt_parameters):
        return []
    return _verbatim(message.rcpt_parameters[position], ("NOTIFY", "ORCPT"))


def _body(connection: Connection, message: Message) -> list[bytes]:
    if (message.mail_parameters.get("BODY") or "").upper() != "8BITMIME":
        return []
    if connection.offers("8bitmime"):
        return [b"BODY=8BITMIME"]
    if all(map(bytes.isascii, on_the_wire(message).pieces)):
        return []
    raise _incapable("5.6.3", "8BITMIME")


def _utf8(connection: Connection, message: Message) -> list[bytes]:
    addresses = (message.mail_from, *message.rcpt_tos)  # which a plugin may have changed
    ascii_envelope = all(map(str.isascii, addresses))
    if ascii_envelope and "SMTPUTF8" not in message.mail_parameters:
        return []
    if connection.offers("smtputf8"):
        return [b"SMTPUTF8"]
    if ascii_envelope and message.content[: header_end(message.content)].isascii():
        return []
    raise _incapable("5.6.7", "SMTPUTF8")


def _require_tls(connection: Connection, message: Message) -> list[bytes]:
    if "REQUIRETLS" not in message.mail_parameters:
        return []
    if connection.is_verified and connection.offers("requiretls"):
        return [b"REQUIRETLS"]
    raise _incapable("5.7.30", "REQUIRETLS over verified TLS")


def _verbatim(given: Parameters, keywords: tuple[str, ...]) -> list[bytes]:
    return [f"{keyword}={given[keyword]}".encode() for keyword in keywords if given.get(keyword)]


def _incapable(enhanced: str, extension: str) -> AttemptEnded:
    text = f"The message needs {extension}, which no downstream offers"
    reply = Reply(code=550, enhanced=enhanced, text=text)
    return AttemptEnded(Deferred(stage=Stage.MAIL, reply=reply, incapable=True))
