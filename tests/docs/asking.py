"""Plugins are loaded as the router loads them, and asked as the router asks."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from smtp_router import Attempt, Defer, Downstream, Health, Message, Outcome, Reject
from smtp_router.hooks.call import Chains
from smtp_router.hooks.plugin import chains
from smtp_router.hooks.registry import Registry
from tests.support import (
    deferred,
    delivered,
    in_doubt,
    make_downstream,
    make_message,
    rejected,
    unreachable,
)

OUTCOMES: Sequence[Outcome] = (unreachable(), deferred(), rejected(), in_doubt())

MESSAGES: Sequence[Message] = (
    make_message(),
    make_message(mail_from="", rcpt_tos=("a@x.example", "b@EXAMPLE.org"), content=b""),
    make_message(rcpt_tos=("postmaster",), content=b"no header at all\n\xff"),
    make_message(content=b"X-Route: spare\r\nList-Unsubscribe: <https://a.example>\r\n\r\nHello\r\n"),
    make_message(content=b"Subject: =?utf-8?q?=ff?=\r\nX-Route: \xff\r\n\r\n" + b"x" * 2_000_000),
    make_message(received_at=datetime(2026, 6, 1, 23, 59, tzinfo=UTC)),
)


def load(source: Path, name: str, options: Mapping[str, object]) -> Chains:
    """The plugin in this file of the folder `source`, made with these options."""
    registry = Registry()
    definition = registry.find(name, source, trust_all=True)
    return chains((registry.make(definition, options),), timeout_s=5)


async def ask(plugin: Chains, message: Message, names: Iterable[str]) -> str:
    """The name of what a plugin chooses among these."""
    chosen = await plugin.select_downstream(message, tuple(map(make_downstream, names)), ())
    assert chosen is not None
    return chosen.name


async def go_through(plugin: Chains, message: Message, names: Sequence[str]) -> list[str]:
    """Take a message to its end, every attempt failing in another way; what was tried, in order.

    Raises:
        PluginError: the plugin failed, or chose something that was not offered.
    """
    left = {name: busy(make_downstream(name)) for name in names}
    attempts: list[Attempt] = []
    for outcome in itertools.cycle(OUTCOMES):
        if not left:
            break
        try:
            chosen = await plugin.select_downstream(message, tuple(left.values()), tuple(attempts))
            chosen = chosen or next(iter(left.values()))
            await plugin.before_send(message, chosen)
        except (Defer, Reject):
            break
        attempts.append(Attempt(downstream=chosen, outcome=outcome, seconds=0.1))
        await plugin.after_send(message, attempts[-1])
        del left[chosen.name]
    await plugin.after_send(
        message, Attempt(downstream=make_downstream(), outcome=delivered(), seconds=0.1)
    )
    return [attempt.downstream.name for attempt in attempts]


def busy(downstream: Downstream) -> Downstream:
    return replace(downstream, health=Health(in_flight=3, delivered=7, failed=2, consecutive_failures=1))
