"""Time, handed in to whoever needs it: so tests and simulations can have their own."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, and what people call it."""

    def now(self) -> float:
        """The present instant in seconds. It only moves forward; where it starts means nothing."""
        ...

    def wall(self) -> datetime:
        """The present in UTC, for logs and calendars. It may be set back and forth."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""
        ...
