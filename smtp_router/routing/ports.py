"""What the router needs from outside, as a protocol: somebody who sends.

The wire implements it for real (`smtp_router.smtp`), tests and simulations with their own.
"""

from collections.abc import Callable
from typing import Protocol

from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings
from smtp_router.core.message import Message
from smtp_router.core.outcome import Outcome


class Sender(Protocol):
    """Hands a message to a downstream, once."""

    async def send(
        self,
        message: Message,
        downstream: DownstreamSettings,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None],
    ) -> Outcome:
        """Try to deliver.

        Args:
            message: what to deliver, to all of its recipients or none.
            downstream: where, with credentials.
            settings: host name and time limits.
            until: the instant by which the final dot must be out.
            deadline: the instant by which the outcome must be known.
            on_final: to be called right before the final dot goes out: from then on the downstream may
                have the message, whatever becomes of this process.

        Returns:
            What became of it. A transport's failure is an outcome, never an exception.

        Cancellation stops an attempt only until the final dot is out; from then on the attempt runs to
        its end, and its outcome is returned.
        """
        ...
