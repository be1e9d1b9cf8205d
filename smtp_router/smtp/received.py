"""The one field that the router adds to a message: `Received:`, on top."""

from email.utils import format_datetime

from smtp_router.core.message import Message


def received_field(message: Message, hostname: str) -> bytes:
    """The trace field for a message, with CRLF at its end.

    The recipient is named only when there is a single one: with more, it would tell each of the others.

    Source: RFC 5321 4.4, RFC 3848 (with ESMTPA, ESMTPSA), RFC 6531 4.3 (UTF8SMTP…).
    """
    session = message.session
    lines = [
        f"Received: from {session.ehlo}{_peer(session.peer)}",
        f"\tby {hostname} (smtp-router) with {_protocol(message)} id {message.id}",
    ]
    if session.tls is not None:
        lines.append(f"\t({session.tls.version}, {session.tls.cipher})")
    if len(message.rcpt_tos) == 1:
        lines.append(f"\tfor <{message.rcpt_tos[0]}>")
    lines[-1] += ";"
    lines.append(f"\t{format_datetime(message.received_at)}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _peer(address: str) -> str:
    """The client's address as a comment; there is none behind a Unix socket."""
    if not address:
        return ""
    return f" ([IPv6:{address}])" if ":" in address else f" ([{address}])"


def _protocol(message: Message) -> str:
    """The registered name of how the message came in."""
    if not message.session.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if "SMTPUTF8" in message.mail_parameters else "ESMTP"
    return name + ("S" if message.session.tls else "") + ("A" if message.session.authenticated else "")
