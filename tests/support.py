"""What tests are made of: values with defaults, a virtual clock, a sender that follows a script.

    clock = VirtualClock()
    sender = ScriptedSender({"a": [deferred(450)], "b": [delivered()]}, clock)
    text = config_text(downstreams={"a": "127.0.0.1:2525"}, algorithm="./algorithm.py")

Nothing here is a mock of our code: `ScriptedSender` and `VirtualClock` implement the two protocols of
`routing.ports` that the wire and the service implement for real.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from smtp_router import (
    Attempt,
    Deferred,
    Delivered,
    Downstream,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    Reply,
    Stage,
)
from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings
from smtp_router.core.clock import Clock
from smtp_router.hooks.given import Giver
from smtp_router.hooks.nested import Nest
from smtp_router.hooks.plugin import Plugin
from smtp_router.hooks.registry import Registry

CONTENT = b"Subject: hello\r\nFrom: sender@a.example\r\n\r\nHello.\r\n"
USER = "user@example.com"
PASSWORD = "correct horse"
EPOCH = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
"""When a `VirtualClock` starts, and when messages come."""


# Values.


def make_message(**changes: Any) -> Message:  # noqa: ANN401 - any field of the class
    """A message from `USER` to one recipient; any field can be given."""
    fields: dict[str, Any] = {
        "id": "message-1",
        "user": USER,
        "mail_from": "sender@a.example",
        "rcpt_tos": ("rcpt@b.example",),
        "content": CONTENT,
        "received_at": EPOCH,
    }
    return Message(**{**fields, **changes})


def make_downstream(name: str = "a", **changes: Any) -> Downstream:  # noqa: ANN401 - as above
    """A downstream as plugins see it."""
    fields: dict[str, Any] = {"name": name, "host": f"{name}.example", "port": 25}
    return Downstream(**{**fields, **changes})


def make_reply(line: str) -> Reply:
    """`make_reply("450 4.2.1 busy")`; the enhanced code and the text may be missing."""
    code, _, text = line.partition(" ")
    return Reply.parse(int(code), text)


def make_giver(clock: Clock | None = None) -> Giver:
    """What a plugin's constructor is given; the others that it makes come from a registry."""
    registry = Registry(clock, seed=1)

    def nested(name: str, options: Mapping[str, object]) -> Plugin:
        return registry.make(registry.find(name, Path()), options)

    return Nest("mine", nested, clock=registry.clock, rng=registry.rng, depth=0)


def delivered(line: str = "250 2.0.0 queued") -> Delivered:
    """The downstream has taken it."""
    return Delivered(reply=make_reply(line))


def deferred(line: str | None = "450 4.2.1 busy", stage: Stage = Stage.RCPT) -> Deferred:
    """The downstream said 4yz; or, with `None`, nothing at all."""
    return Deferred(stage=stage, reply=make_reply(line) if line else None, reason="" if line else "gone")


def unreachable() -> Deferred:
    """No connection."""
    return deferred(None, Stage.CONNECT)


def rejected(line: str | None = "550 5.1.1 no such user", stage: Stage = Stage.RCPT) -> Rejected:
    """The downstream said 5yz about this message."""
    return Rejected(stage=stage, reply=make_reply(line) if line else None)


def in_doubt() -> InDoubt:
    """The final dot went out, and no reply came."""
    return InDoubt(reason="connection lost")


def make_attempt(outcome: Outcome, name: str = "a", seconds: float = 0.1) -> Attempt:
    """An attempt that ended in this outcome."""
    return Attempt(downstream=make_downstream(name), outcome=outcome, seconds=seconds)


# The outside of the router.


class VirtualClock:
    """Time that moves only when it is told to."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.wall_is_off_s = 0.0
        """By how much somebody has set the wall clock forth (or back)."""

    def now(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self._now - 1000.0 + self.wall_is_off_s)

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, sleeper))
        self._wake()
        await sleeper

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._wake()

    def _wake(self) -> None:
        for end, sleeper in self._sleepers:
            if end <= self._now and not sleeper.done():
                sleeper.set_result(None)
        self._sleepers = [one for one in self._sleepers if not one[1].done()]


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
