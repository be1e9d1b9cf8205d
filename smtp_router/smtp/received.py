"""The one field that the router adds to a message: `Received:`, on top."""

from datetime import UTC, datetime

from smtp_router.core.message import TLS, Message

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

_Origin = tuple[str, str, TLS | None, bool, bool, bool]
"""What the field says of the client: EHLO, address, TLS, ESMTP, login, SMTPUTF8."""


class Stamp:
    """Writes the field, as a router of this name."""

    def __init__(self, hostname: str) -> None:
        """Nothing is written yet."""
        self.hostname = hostname
        self._begun: dict[_Origin, tuple[str, str]] = {}
        self._look(_NEVER)

    def field(self, message: Message) -> bytes:
        """The trace field for a message, with CRLF at its end.

        The recipient is named only when there is a single one: with more, it would tell each of the
        others.

        Source: RFC 5321 4.4, RFC 3848 (with ESMTPA, ESMTPSA), RFC 6531 4.3 (UTF8SMTP…).
        """
        session, rcpt_tos, when = message.session, message.rcpt_tos, message.received_at
        if not self._from <= when <= self._to or when.tzinfo is not UTC:
            self._look(when)
        origin = (
            session.ehlo,
            session.peer,
            session.tls,
            session.esmtp,
            session.authenticated,
            "SMTPUTF8" in message.mail_parameters,
        )
        begin, tls = self._begun.get(origin) or self._begin(origin)
        if len(rcpt_tos) == 1:
            return f"{begin}{message.id}{tls}\r\n\tfor <{rcpt_tos[0]}>{self._date_time}".encode()
        return f"{begin}{message.id}{tls}{self._date_time}".encode()

    def _begin(self, origin: _Origin) -> tuple[str, str]:
        """What stands in front of the id, and of TLS behind it; kept as long as the date-time."""
        ehlo, peer, tls, esmtp, authenticated, utf8 = origin
        protocol = "SMTP"
        if esmtp:
            protocol = "UTF8SMTP" if utf8 else "ESMTP"
            protocol += ("S" if tls else "") + ("A" if authenticated else "")
        begin = f"from {ehlo}{_peer(peer)}\r\n\tby {self.hostname} (smtp-router) with {protocol} id "
        begun = f"Received: {begin}", f"\r\n\t({tls.version}, {tls.cipher})" if tls else ""
        self._begun[origin] = begun
        return begun

    def _look(self, when: datetime) -> None:
        """The date-time, kept for a whole second: it takes four times as long as all the rest."""
        self._begun.clear()
        self._date_time = f";\r\n\t{_date_time(when)}\r\n"
        self._from = when.replace(microsecond=0)
        self._to = when.replace(microsecond=999_999) if when.tzinfo is UTC else _NEVER


def _peer(address: str) -> str:
    """The client's address as a comment; there is none behind a Unix socket."""
    if not address:
        return ""
    return f" ([IPv6:{address}])" if ":" in address else f" ([{address}])"


def _date_time(when: datetime) -> str:
    """A date-time (RFC 5322 3.3), in a fraction of what the standard library takes for it."""
    iso = when.isoformat(timespec="seconds")
    assert when.tzinfo is not None
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {iso[8:10]} {month} {iso[:4]} {iso[11:19]} {iso[19:22]}{iso[23:25]}"
