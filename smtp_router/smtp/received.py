"""The one field that the router adds to a message: `Received:`, on top."""

from datetime import UTC, datetime

from smtp_router.core.message import Message, Session

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Stamp:
    """Writes the field, as a router of this name."""

    def __init__(self, hostname: str) -> None:
        """Nothing is written yet."""
        self.hostname = hostname
        self._from = self._to = datetime(1, 1, 1, tzinfo=UTC)
        self._date_time = _date_time(self._from)
        self._sessions: dict[int, tuple[str, str, str, Session]] = {}

    def field(self, message: Message) -> bytes:
        """The trace field for a message, with CRLF at its end.

        The recipient is named only when there is a single one: with more, it would tell each of the
        others.

        Source: RFC 5321 4.4, RFC 3848 (with ESMTPA, ESMTPSA), RFC 6531 4.3 (UTF8SMTP…).
        """
        session, rcpt_tos, when = message.session, message.rcpt_tos, message.received_at
        if when.tzinfo is UTC and self._from <= when <= self._to:
            date_time = self._date_time
        else:
            date_time = self._look(when)
        begin, utf8, tls, _ = self._sessions.get(id(session)) or self._meet(session)
        if "SMTPUTF8" in message.mail_parameters:
            begin = utf8
        recipient = f"\r\n\tfor <{rcpt_tos[0]}>" if len(rcpt_tos) == 1 else ""
        return f"{begin}{message.id}{tls}{recipient};\r\n\t{date_time}\r\n".encode()

    def _meet(self, session: Session) -> tuple[str, str, str, Session]:
        """What is the same for all messages of a session: what begins the field, in two forms, and TLS.

        Kept until the second is over, with the session, so that no other has its identity: it takes as
        long as all the rest.
        """
        peer, tls = session.peer, session.tls
        begin = f"Received: from {session.ehlo}{_peer(peer)}\r\n\tby {self.hostname} (smtp-router) with "
        cipher = f"\r\n\t({tls.version}, {tls.cipher})" if tls is not None else ""
        ascii_, utf8 = (f"{begin}{_protocol(session, name)} id " for name in ("ESMTP", "UTF8SMTP"))
        self._sessions[id(session)] = met = ascii_, utf8, cipher, session
        return met

    def _look(self, when: datetime) -> str:
        """The date-time, kept for a whole second: it takes four times as long as all the rest."""
        self._sessions.clear()
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


def _protocol(session: Session, name: str) -> str:
    """The registered name of how a message came in."""
    if not session.esmtp:
        return "SMTP"
    return name + ("S" if session.tls else "") + ("A" if session.authenticated else "")


def _date_time(when: datetime) -> str:
    """A date-time (RFC 5322 3.3), in a fraction of what the standard library takes for it."""
    iso = when.isoformat(timespec="seconds")
    assert when.tzinfo is not None
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {iso[8:10]} {month} {iso[:4]} {iso[11:19]} {iso[19:22]}{iso[23:25]}"
