"""The hooks. A plugin implements any of them, with any subset of their arguments, `def` or `async def`.

| hook | shape |
|---|---|
| `select_downstream` | ask: the first plugin that returns a downstream wins |
| `before_send` | chain: each plugin sees the last one's result |
| `after_send` | tell: every plugin, whatever the others do |
| `check_downstreams` | check: while the configuration is loaded; what it raises refuses it |
| `close` | tell: each plugin that is not used any more |
"""

from collections.abc import Sequence

import pluggy

from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Attempt

PROJECT = "smtp_router"
"""The name that markers and the entry-point group share."""

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)
"""Marks a function or method as a hook implementation: `@hookimpl`."""


@hookspec
def select_downstream(
    message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
) -> Downstream | None:
    """Choose the downstream for the next attempt.

    When: before every attempt at delivering a message; so a second time when the first attempt was
        deferred, with that attempt in `attempts`.

    Args:
        message: the message to route.
        downstreams: those still worth trying for this message, in the configuration's order; never
            empty, and never one that was tried.
        attempts: what was tried so far for this message, oldest first.

    Returns:
        One of `downstreams`, or `None` for no opinion: then the next plugin is asked. If nobody has
        one, the client gets the last transient reply (`451 4.4.1` if there is none).

    Raises:
        Defer: answer 4yz, try nothing else.
        Reject: answer 5yz, try nothing else.
    """


@hookspec
def before_send(message: Message, downstream: Downstream) -> Message | None:
    """Change the message for this attempt.

    When: after a downstream was chosen, before the connection is used. What is returned counts for
        this attempt only; the next one starts from the message as it was received.

    Args:
        message: the message, as the plugins before this one left it.
        downstream: the one that was chosen.

    Returns:
        A changed message (`message.with_header(…)`, `message.replace(…)`), or `None` for unchanged.

    Raises:
        Defer: answer 4yz, do not send.
        Reject: answer 5yz, do not send.
    """


@hookspec
def after_send(message: Message, attempt: Attempt) -> None:
    """Learn what became of an attempt.

    When: after every attempt, delivered or not, before the client is answered.

    Args:
        message: the message as it was received.
        attempt: the downstream, the outcome, and how long it took.

    An exception here is logged, and changes nothing else.
    """


@hookspec
def check_downstreams(downstreams: Sequence[Downstream]) -> None:
    """Look at the downstreams, which may have options for this plugin.

    When: while a configuration is loaded (at the start, at a reload, by `smtp-router check`), before it
        is used; so it must not change anything. Not `async`.

    Args:
        downstreams: all of the user's, in the configuration's order.

    Raises:
        ValueError, TypeError: the configuration cannot be used; the text says which downstream and
            which option.
    """


@hookspec
def close() -> None:
    """Give back what was opened, write what is to be written.

    When: once, when the plugin is not used any more: the router has drained, or a reload has dropped it
        and the messages from before are done.
    """
