"""How one algorithm uses others: what the router gives to a plugin whose constructor asks for it."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt


class Algorithm(Protocol):
    """Another algorithm, ready to be asked."""

    @property
    def name(self) -> str:
        """As the configuration spells it."""
        ...

    def select_downstream(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Downstream | Awaitable[Downstream | None] | None:
        """Ask it, and return what this returns: the router awaits what is to be awaited.

        Args:
            message: the message to route.
            downstreams: those that it may choose from, at least one.
            attempts: what was tried so far for this message.

        Returns:
            One of `downstreams`, or `None` for no opinion; or an awaitable of that.

        Raises:
            Defer, Reject: its own decision.
            PluginError: it failed, or returned something that was not offered.
        """
        ...


class Algorithms(Protocol):
    """Makes other algorithms: a constructor's parameter with this annotation is given one."""

    def make(self, use: object, *, at: str) -> Algorithm:
        """An algorithm of one's own, with its state; only while the plugin itself is being made.

        Its other hooks are called as if it stood under `plugins`, right before the one that makes it.

        Args:
            use: what stands in the configuration: a name, a path, or `{use: …, options: {…}}`.
            at: the path of the option where it stands, as in `rules.0.to`, for errors.

        Raises:
            PluginError: it cannot be used, and why; not to be caught.
        """
        ...
