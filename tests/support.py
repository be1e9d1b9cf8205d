"""What tests are made of: a sender that follows a script, configurations, the kit's values and clock.

    clock = VirtualClock()
    sender = ScriptedSender({"a": [deferred(450)], "b": [delivered()]}, clock)
    text = config_text(downstreams={"a": "127.0.0.1:2525"}, algorithm="./algorithm.py")

Nothing here is a mock of our code: `ScriptedSender` and `VirtualClock` implement the two protocols that
the wire and the machine implement for real.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smtp_router import Message, Outcome, Stage
from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.hooks.given import Giver
from smtp_router.hooks.nested import Nest
from smtp_router.hooks.plugin import Plugin
from smtp_router.hooks.registry import Registry
from smtp_router.testing import (
    VirtualClock,
    deferred,
    delivered,
    in_doubt,
    make_attempt,
    make_downstream,
    make_message,
    make_reply,
    rejected,
    unreachable,
)
from smtp_router.testing.values import CONTENT, EPOCH, USER

__all__ = [
    "CONTENT",
    "EPOCH",
    "PASSWORD",
    "USER",
    "ScriptedSender",
    "Sent",
    "Step",
    "VirtualClock",
    "config_text",
    "deferred",
    "delivered",
    "in_doubt",
    "make_attempt",
    "make_downstream",
    "make_giver",
    "make_message",
    "make_reply",
    "rejected",
    "unreachable",
    "user_config",
]

PASSWORD = "correct horse"


def make_giver(clock: Clock | None = None) -> Giver:
    """What a plugin's constructor is given; the others that it makes come from a registry."""
    registry = Registry(clock, seed=1)

    def nested(name: str, options: Mapping[str, object]) -> Plugin:
        return registry.make(registry.find(name, Path()), options)

    return Nest("mine", nested, clock=registry.clock, rng=registry.rng, depth=0)


# The outside of the router.


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One call of the sender."""

    message: Message
    name: str
    downstream: DownstreamSettings
    settings: Settings
    until: float
    deadline: float
    on_final: Callable[[], None]


Step = Outcome | BaseException | Callable[[Sent], Awaitable[Outcome]]
"""What one call comes to: an outcome, an exception to raise, or an async function that decides."""


class ScriptedSender:
    """Does for each downstream, by name, one step after the other; the last one stays.

    Args:
        script: the steps by name; a single step stands for itself. Who is not in it delivers.
        clock: moved on by `takes_s` in each call.
        takes_s: how long a call takes, in virtual time: for all alike, or by name.
    """

    def __init__(
        self,
        script: Mapping[str, Step | Iterable[Step]] | None = None,
        clock: VirtualClock | None = None,
        takes_s: float | Mapping[str, float] = 0.0,
    ) -> None:
        self._script = {
            name: list(steps) if isinstance(steps, Iterable) else [steps]
            for name, steps in (script or {}).items()
        }
        self._clock = clock or VirtualClock()
        self._takes_s = takes_s
        self.sent: list[Sent] = []
        """Every call, oldest first."""

    @property
    def names(self) -> list[str]:
        """Who was tried, in order."""
        return [sent.name for sent in self.sent]

    async def send(
        self,
        message: Message,
        downstream: DownstreamSettings,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None] = lambda: None,
    ) -> Outcome:
        sent = Sent(
            message=message,
            name=downstream.name,
            downstream=downstream,
            settings=settings,
            until=until,
            deadline=deadline,
            on_final=on_final,
        )
        self.sent.append(sent)
        takes_s = self._takes_s
        self._clock.advance(takes_s if isinstance(takes_s, float | int) else takes_s.get(sent.name, 0.0))
        steps = self._script.get(sent.name, [delivered()])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Outcome):
            if step.stage is Stage.FINAL:
                on_final()
            return step
        return await step(sent)


# Configurations.


def user_config(
    *,
    email: str = USER,
    password: str = PASSWORD,
    algorithm: object = "./algorithm.py",
    downstreams: Mapping[str, str | Mapping[str, object]] | None = None,
    **more: object,
) -> dict[str, object]:
    """One entry of `users`.

    Args:
        email: the login name.
        password: its password.
        algorithm: what stands behind the key of that name.
        downstreams: by name, each an address or a mapping of its keys; the default is a and b.
        more: further keys.
    """
    if downstreams is None:
        downstreams = {"a": "a.example:25", "b": "b.example:25"}
    return {
        "email": email,
        "password": password,
        "algorithm": algorithm,
        **more,
        "downstreams": [
            {"name": name, **({"addr": keys} if isinstance(keys, str) else keys)}
            for name, keys in downstreams.items()
        ],
    }


def config_text(
    *users: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
    **user: Any,  # noqa: ANN401
) -> str:
    """The text of a configuration file.

    Args:
        users: entries as `user_config` makes them.
        settings: top-level keys beside `users`, as in `{"deadline_s": 10}`.
        user: when there are no entries, what `user_config` makes the only one of.
    """
    entries = [*users] or [user_config(**user)]
    return yaml.safe_dump({**(settings or {}), "users": entries}, sort_keys=False)
