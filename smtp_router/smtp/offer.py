"""What one listener offers: told with the banner and with EHLO, the same to many clients."""

from smtp_router.config.settings import Settings
from smtp_router.smtp.newlines import WholeLineEnds
from smtp_router.smtp.recall import Recall
from smtp_router.smtp.site import Site
from smtp_router.smtp.steps import Answer


class Offer:
    """What clients of one listener are told, made once until a reload changes it; and what they say."""

    def __init__(self, site: Site, *, starttls: bool = False, require_tls: bool = False) -> None:
        """Nothing is told yet.

        Args:
            site: the router.
            starttls: whether a connection can be encrypted after it has begun.
            require_tls: whether it has to be, before AUTH and MAIL.
        """
        self.site = site
        """The router: what it offers, and what it lets whom do."""
        self.starttls = starttls
        """Whether a connection can be encrypted after it has begun."""
        self.require_tls = require_tls
        """Whether it has to be, before AUTH and MAIL."""
        self.recall = Recall()
        """What they have said."""
        self.line_ends = WholeLineEnds()
        """Looks at their content."""
        self._begin()

    def banner(self) -> bytes:
        """What a client hears first."""
        if self.site.settings is not self._settings:
            self._begin()
        return self._banner

    def ehlo(self) -> tuple[tuple[Answer, Answer], tuple[Answer, Answer]]:
        """The replies to EHLO, by whether the connection is encrypted, then whether AUTH is offered."""
        if self.site.settings is not self._settings:
            self._begin()
        return self._ehlo

    def _begin(self) -> None:
        self._settings: Settings = self.site.settings
        self._banner = b"220 %b ESMTP smtp-router\r\n" % self._settings.hostname.encode()
        self._ehlo = self._replies(encrypted=False), self._replies(encrypted=True)

    def _replies(self, *, encrypted: bool) -> tuple[Answer, Answer]:
        without, with_auth = (self._lines(encrypted=encrypted, may_log_in=may) for may in (False, True))
        return Answer(without), Answer(with_auth)

    def _lines(self, *, encrypted: bool, may_log_in: bool) -> bytes:
        settings = self._settings
        tls = auth = ""
        if encrypted:
            tls = "250-REQUIRETLS\r\n"
        elif self.starttls:
            tls = "250-STARTTLS\r\n"
        if may_log_in:
            auth = f"250-AUTH {' '.join(self.site.mechanisms)}\r\n"
        lines = (
            f"250-{settings.hostname}\r\n250-PIPELINING\r\n250-SIZE {settings.max_message_bytes}\r\n"
            "250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-DSN\r\n"
            f"{tls}{auth}"
            f"250 LIMITS MAILMAX={settings.max_transactions} RCPTMAX={settings.max_recipients}\r\n"
        )
        return lines.encode("ascii")
