"""What a bench has between the router and its downstreams: a field on top, and a count."""

from collections import Counter

from smtp_router import Attempt, Downstream, Message, hookimpl


class Stamp:
    """Says on top of each message where it went, and counts what became of it there."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.counts: Counter[tuple[str, str]] = Counter()

    @hookimpl
    def before_send(self, message: Message, downstream: Downstream) -> Message:
        """Say where it goes."""
        return message.with_header("X-Routed-Via", downstream.name)

    @hookimpl
    def after_send(self, attempt: Attempt) -> None:
        """Count it."""
        self.counts[attempt.downstream.name, type(attempt.outcome).__name__] += 1
