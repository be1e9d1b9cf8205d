"""How long a client is waited for (RFC 5321 4.5.3.2, in spirit).

A whole command has to come within `idle_s`: an octet now and then is no sign of life. Content may take
as long as it needs, but no pause may be that long, and once `UPLOAD_GRACE_S` have passed its average has
to be `min_upload_bytes_per_s`.
"""

from smtp_router.config.settings import Settings
from smtp_router.core.reply import Reply

UPLOAD_GRACE_S = 30.0
"""How long content may take to get going."""
LINGER_S = 10.0
"""How long a client may take to read what it is told last."""

IDLE = Reply(code=421, enhanced="4.4.2", text="Idle for too long")
TOO_SLOW = Reply(code=421, enhanced="4.4.2", text="The message comes too slowly")


class Patience:
    """Watches one session's clock; an instant is whatever clock the session goes by."""

    _upload_began: float | None = None
    _octets = 0

    def __init__(self, now: float) -> None:
        """It is the client's turn."""
        self.heard = now
        """When something came last that counts; to be set where a command is answered."""

    def begin_turn(self, now: float) -> None:
        """A command was answered, or a challenge sent: the next one is awaited."""
        self.heard = now
        self._upload_began = None

    def begin_upload(self, now: float) -> None:
        """Content is awaited."""
        self.heard = self._upload_began = now
        self._octets = 0

    def hear(self, octets: int, now: float) -> None:
        """Octets of content have come."""
        self.heard = now
        self._octets += octets

    def verdict(self, settings: Settings, now: float) -> Reply | None:
        """What to tell a client that has used it up; `None` while there is some left."""
        if now - self.heard >= settings.idle_s:
            return IDLE
        if self._upload_began is None:
            return None
        elapsed = now - self._upload_began
        slow = self._octets < elapsed * settings.min_upload_bytes_per_s
        return TOO_SLOW if slow and elapsed >= UPLOAD_GRACE_S else None
