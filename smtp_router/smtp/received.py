"""The one field that the router adds to a message: `Received:`, on top."""

from datetime import UTC, datetime

from smtp_router.core.message import Message

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Stamp:
    """Writes the field, as a router of this name."""

    def __init__(self, hostname: str) -> None:
        """Nothing is written yet."""
        self.hostname = hostname
        self._from = self._to = datetime(1, 1, 1, tzinfo=UTC)
        self._date_time = _date_time(self._from)

    def field(self, message: Message) -> bytes:
        """The trace field for a message, with CRLF at its end.

        The recipient is named only when there is a single one: with more, it would tell each of the
        others.

        Source: RFC 5321 4.4, RFC 3848 (with ESMTPA, ESMTPSA), RFC 6531 4.3 (UTF8SMTP…).
        """
        session, rcpt_tos, when = message.session, message.rcpt_tos, message.received_at
        tls = f"\r\n\t({session.tls.version}, {session.tls.cipher})" if session.tls is not None else ""
        recipient = f"\r\n\tfor <{rcpt_tos[0]}>" if len(rcpt_tos) == 1 else ""
        same_second = when.tzinfo is UTC and self._from <= when <= self._to
        date_time = self._date_time if same_second else self._look(when)
        return (
            f"Received: from {session.ehlo}{_peer(session.peer)}\r\n"
            f"\tby {self.hostname} (smtp-router) with {_protocol(message)}"
            f" id {message.id}{tls}{recipient};\r\n"
            f"\t{date_time}\r\n"
        ).encode()

    def _look(self, when: datetime) -> str:
        """The date-time, kept for a whole second: it takes four times as long as all the rest."""
        date_time = _date_time(when)
        if when.tzinfo is UTC:
            self._from, self._to = when.replace(microsecond=0), when.replace(microsecond=999_999)
            self._date_time = date_time
        return date_time


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
