"""The live figures of every downstream, counted where the attempts are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from smtp_router.core.downstream import Health
from smtp_router.core.outcome import Attempt, Deferred, Delivered, Rejected


@dataclass(slots=True)
class Figures:
    """One downstream's figures; `frozen` gives what plugins see."""

    in_flight: int = 0
    delivered: int = 0
    failed: int = 0
    consecutive_failures: int = 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count an attempt as under way."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def count(self, attempt: Attempt) -> None:
        """Count what became of an attempt; a refusal of the message says nothing of the downstream."""
        match attempt.outcome:
            case Delivered():
                self.delivered += 1
                self.consecutive_failures = 0
            case Rejected() | Deferred(incapable=True) | Deferred(neutral=True):
                pass
            case _:
                self.failed += 1
                self.consecutive_failures += 1

    def frozen(self) -> Health:
        """The figures as they are now."""
        return Health(
            in_flight=self.in_flight,
            delivered=self.delivered,
            failed=self.failed,
            consecutive_failures=self.consecutive_failures,
        )
