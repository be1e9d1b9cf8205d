"""The one field that the router adds to a message: `Received:`, on top."""

from datetime import datetime

from smtp_router.core.message import Message

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def received_field(message: Message, hostname: str) -> bytes:
    """The trace field for a message, with CRLF at its end.

    The recipient is named only when there is a single one: with more, it would tell each of the others.

    Source: RFC 5321 4.4, RFC 3848 (with ESMTPA, ESMTPSA), RFC 6531 4.3 (UTF8SMTP…).
    """
    session = message.session
    tls = f"\r\n\t({session.tls.version}, {session.tls.cipher})" if session.tls is not None else ""
    recipient = f"\r\n\tfor <{message.rcpt_tos[0]}>" if len(message.rcpt_tos) == 1 else ""
    return (
        f"Received: from {session.ehlo}{_peer(session.peer)}\r\n"
        f"\tby {hostname} (smtp-router) with {_protocol(message)} id {message.id}{tls}{recipient};\r\n"
        f"\t{_date_time(message.received_at)}\r\n"
    ).encode()


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


def _date_time(when: datetime) -> str:
    """A date-time (RFC 5322 3.3), in a fraction of what the standard library takes for it."""
    iso = when.isoformat(timespec="seconds")
    assert when.tzinfo is not None
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {iso[8:10]} {month} {iso[:4]} {iso[11:19]} {iso[19:22]}{iso[23:25]}"
