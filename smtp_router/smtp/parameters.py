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

import re
from dataclasses import dataclass

from smtp_router.core.headers import header_end
from smtp_router.core.message import Message, Parameters, on_the_wire
from smtp_router.core.outcome import Deferred, Stage
from smtp_router.core.reply import Reply
from smtp_router.smtp.verdict import AttemptEnded

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What the downstream at the other end of a connection is.

    Args:
        extensions: the keywords that its EHLO offered, in lower case.
        is_verified: whether the connection is encrypted, and its certificate was verified.
        is_lmtp: whether it speaks LMTP, in which each recipient has a reply to the content.
    """

    extensions: frozenset[str] = frozenset()
    is_verified: bool = False
    is_lmtp: bool = False


def envelope(peer: Peer, message: Message, size: int) -> str:
    """MAIL and every RCPT, as command lines with CRLF.

    Args:
        peer: the downstream.
        message: what is to be sent.
        size: of the content as it will be sent, in octets.

    Raises:
        AttemptEnded: the downstream lacks something that the message needs.
        ValueError: there is a control character in what a plugin put into the envelope.
    """
    offered, mail_from, rcpt_tos = peer.extensions, message.mail_from, message.rcpt_tos
    # As nearly always: the same as below, in two thirds of the instructions.
    if len(rcpt_tos) == 1 and not message.mail_parameters and "size" in offered:
        rcpt_to = rcpt_tos[0]
        words = mail_from + rcpt_to
        told = "dsn" in offered and any(message.rcpt_parameters)
        if words.isascii() and words.isprintable() and not told:
            return f"MAIL FROM:<{mail_from}> SIZE={size}\r\nRCPT TO:<{rcpt_to}>\r\n"
    words = mail_from + "".join(rcpt_tos)
    parameters = f" SIZE={size}" if "size" in offered else ""
    # the addresses, which a plugin may have changed, may need SMTPUTF8 without a word in the parameters
    if message.mail_parameters or not words.isascii():
        parameters += mail_parameters(peer, message)
        words += parameters
    if "dsn" in offered and any(message.rcpt_parameters):
        lines = [f"{to}>{_rcpt_parameters(message, position)}" for position, to in enumerate(rcpt_tos)]
        words += "".join(lines)
        rcpts = "\r\nRCPT TO:<".join(lines)
    else:
        rcpts = ">\r\nRCPT TO:<".join(rcpt_tos) + ">"
    if not words.isprintable() and _CONTROL.search(words):
        raise ValueError("a control character in the envelope")
    return f"MAIL FROM:<{mail_from}>{parameters}\r\nRCPT TO:<{rcpts}\r\n"


def mail_parameters(peer: Peer, message: Message) -> str:
    """The parameters of MAIL but SIZE, each with a blank in front of it.

    Raises:
        AttemptEnded: the downstream lacks something that the message needs.
    """
    offered = peer.extensions
    given = message.mail_parameters
    ascii_envelope = message.mail_from.isascii() and all(map(str.isascii, message.rcpt_tos))
    parameters = ""
    if "BODY" in given:
        parameters += _body(offered, message)
    if not ascii_envelope or "SMTPUTF8" in given:
        parameters += _utf8(offered, message, ascii_envelope=ascii_envelope)
    if "REQUIRETLS" in given:
        parameters += _require_tls(peer)
    if "AUTH" in given and "auth" in offered:
        parameters += " AUTH=<>"  # who the client says it is binds nobody behind us
    if "dsn" in offered:
        parameters += _verbatim(given, ("RET", "ENVID"))
    return parameters


def _rcpt_parameters(message: Message, position: int) -> str:
    """The parameters of the RCPT for the recipient at this position; the same. They need DSN."""
    if position >= len(message.rcpt_parameters):
        return ""
    return _verbatim(message.rcpt_parameters[position], ("NOTIFY", "ORCPT"))


def _body(offered: frozenset[str], message: Message) -> str:
    if (message.mail_parameters["BODY"] or "").upper() != "8BITMIME":
        return ""
    if "8bitmime" in offered:
        return " BODY=8BITMIME"
    if all(map(bytes.isascii, on_the_wire(message).pieces)):
        return ""
    raise _incapable("5.6.3", "8BITMIME")


def _utf8(offered: frozenset[str], message: Message, *, ascii_envelope: bool) -> str:
    if "smtputf8" in offered:
        return " SMTPUTF8"
    if ascii_envelope and message.content[: header_end(message.content)].isascii():
        return ""
    raise _incapable("5.6.7", "SMTPUTF8")


def _require_tls(peer: Peer) -> str:
    if peer.is_verified and "requiretls" in peer.extensions:
        return " REQUIRETLS"
    raise _incapable("5.7.30", "REQUIRETLS over verified TLS")


def _verbatim(given: Parameters, keywords: tuple[str, ...]) -> str:
    return "".join([f" {keyword}={given[keyword]}" for keyword in keywords if given.get(keyword)])


def _incapable(enhanced: str, extension: str) -> AttemptEnded:
    text = f"The message needs {extension}, which no downstream offers"
    reply = Reply(code=550, enhanced=enhanced, text=text)
    return AttemptEnded(Deferred(stage=Stage.MAIL, reply=reply, incapable=True))
