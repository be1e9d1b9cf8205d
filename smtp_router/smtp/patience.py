"""How long a client is waited for (RFC 5321 4.5.3.2, in spirit).

A whole command has to come within `idle_s`: an octet now and then is no sign of life. Content may take
as long as it needs, but no pause may be that long, and once `UPLOAD_GRACE_S` have passed its average has
to be `min_upload_bytes_per_s`.

Nobody looks at a clock for what a client says: it counts from when it is looked after next, which is
several times within every limit.
"""

from smtp_router.config.settings import Settings
from smtp_router.core.layout import laid_out
from smtp_router.core.reply import Reply

UPLOAD_GRACE_S = 30.0
"""How long content may take to get going."""
LINGER_S = 10.0
"""How long a client may take to read what it is told last."""

IDLE = Reply(code=421, enhanced="4.4.2", text="Idle for too long")
TOO_SLOW = Reply(code=421, enhanced="4.4.2", text="The message comes too slowly")


@laid_out
class Patience:
    """Watches one session's clock; an instant is whatever clock the one who looks goes by."""

    # How every session begins: it is the client's turn
    heard_at: float | None = None
    """When something came last that counts; `None`: since the last look."""
    _is_upload = False
    _began_at: float | None = None
    _octets = 0

    def begin_turn(self) -> None:
        """A command was answered, or a challenge sent: the next one is awaited."""
        self.heard_at = None
        self._is_upload = False

    def begin_upload(self) -> None:
        """Content is awaited, if it was not before."""
        if not self._is_upload:
            self._is_upload = True
            self._began_at = None
            self._octets = 0

    def hear(self, octets: int) -> None:
        """Octets of content have come."""
        self.heard_at = None
        self._octets += octets

    def verdict(self, settings: Settings, now: float) -> Reply | None:
        """What to tell a client that has used it up; `None` while there is some left."""
        if self.heard_at is None:
            self.heard_at = now
        elif now - self.heard_at >= settings.idle_s:
            return IDLE
        if not self._is_upload:
            return None
        if self._began_at is None:
            self._began_at = now
        elapsed = now - self._began_at
        slow = self._octets < elapsed * settings.min_upload_bytes_per_s
        return TOO_SLOW if slow and elapsed >= UPLOAD_GRACE_S else None
