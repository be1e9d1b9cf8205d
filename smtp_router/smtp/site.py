"""What a session needs from the router it belongs to."""

from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Protocol

from smtp_router.config.settings import Settings
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.credentials import Verifier
from smtp_router.smtp.guard import Guard


class Site(Protocol):
    """The router, as seen from a session."""

    @property
    def settings(self) -> Settings:
        """The settings that count now; a reload changes them."""
        ...

    @property
    def guard(self) -> Guard:
        """Counts what clients do."""
        ...

    def user_at(self, address: str) -> str | None:
        """The user that clients from this address are without a login."""
        ...

    def mail_refusal(self, user: str, mail_from: str) -> Reply | None:
        """Why this user may not send this message now; `None` if it may, and then it counts."""
        ...

    def max_sessions(self, user: str) -> int | None:
        """How many sessions this user may have at the same time."""
        ...

    def known(self, response: bytes) -> str | None:
        """The login that this response to AUTH PLAIN (in base64) is right for, if that is remembered.

        If not, `authenticate` looks closer.
        """
        ...

    async def authenticate(self, login: str, password: str) -> bool:
        """Whether this login has this password, in the same time and manner for unknown logins."""
        ...

    async def scram_verifier(self, login: str) -> Verifier:
        """What SCRAM needs for a login, known or not."""
        ...

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that are offered; others only along with other settings."""
        ...

    def route(self, message: Message) -> Coroutine[Any, Any, Reply]:
        """Deliver a message; what the client hears."""
        ...

    def gone(self, message: Message, unheard: Reply | None = None) -> None:
        """The client of a message has gone: while it is being routed, or before it heard this reply."""
        ...

    def new_id(self) -> str:
        """An id that no other message has."""
        ...

    def wall_clock(self) -> datetime:
        """The present, with a time zone."""
        ...
