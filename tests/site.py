"""A router that lets everybody do everything: for tests of the sessions in front of it."""

from datetime import UTC, datetime

from smtp_router import Message, Reply
from smtp_router.config.settings import Settings
from smtp_router.credentials import Verifier
from smtp_router.smtp.guard import Guard
from tests.support import VirtualClock


class OpenSite:
    """Implements `smtp_router.smtp.site.Site`; tests override what they are about."""

    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.guard = Guard(settings, VirtualClock(), max_files=10_000)

    def user_at(self, address: str) -> str | None:
        del address
        return None

    def mail_refusal(self, user: str, mail_from: str) -> Reply | None:
        del user, mail_from
        return None

    def max_sessions(self, user: str) -> int | None:
        del user
        return None

    def known(self, response: bytes) -> str | None:
        del response
        return None

    async def authenticate(self, login: str, password: str) -> bool:
        del login, password
        return True

    async def scram_verifier(self, login: str) -> Verifier:
        raise NotImplementedError

    async def route(self, message: Message) -> Reply:
        del message
        return Reply(code=250, enhanced="2.0.0", text="Taken")

    def gone(self, message: Message, unheard: Reply | None = None) -> None:
        pass

    def new_id(self) -> str:
        return "message-1"

    def wall_clock(self) -> datetime:
        return datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
