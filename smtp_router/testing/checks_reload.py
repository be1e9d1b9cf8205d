"""A plugin over a reload, with messages in flight; all but the sender is the router's own."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from smtp_router.config.load import load
from smtp_router.config.settings import Downstream as DownstreamSettings
from smtp_router.config.settings import Settings
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.outcome import Outcome
from smtp_router.core.reply import Reply
from smtp_router.hooks.plugin import Plugin, hook_names
from smtp_router.hooks.registry import Registry
from smtp_router.hooks.spec import hookimpl
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import Router
from smtp_router.testing.checks import Case, NotApplicableError, ticking
from smtp_router.testing.clock import VirtualClock
from smtp_router.testing.targets import definition_of, is_ready
from smtp_router.testing.values import USER, delivered, unreachable

MESSAGES: Final = 20
NAME: Final = "plugin_under_test"


async def is_made_anew_after_a_reload(case: Case) -> None:
    """A new version is made beside the old one, which serves what is in flight until that is done."""
    await _over_a_reload(case, lambda world: world.edit_code(), is_kept=False)


async def is_kept_when_downstreams_change(case: Case) -> None:
    """A reload that changes only the downstreams keeps the plugin, which copes with the others."""
    await _over_a_reload(case, lambda world: world.configure("b0", "b1", "b2", "a1"), is_kept=True)


async def _over_a_reload(case: Case, change: "Callable[[_World], None]", *, is_kept: bool) -> None:
    if is_ready(case.target):
        raise NotApplicableError("nobody can make it again")
    with tempfile.TemporaryDirectory(prefix="smtp-router-") as folder, _errors() as errors:
        async with ticking(VirtualClock()) as clock:
            world = _World(case, Path(folder), clock)
            epochs = LiveEpochs(load(world.file), world.registry)
            router = Router(epochs, world.sender, clock, chance=lambda: 0.0)
            before = _plugin_in(epochs)
            messages = list(case.histories.messages(2 * MESSAGES))
            in_flight = [asyncio.ensure_future(router.route(one)) for one in messages[:MESSAGES]]
            await world.sender.holds(in_flight)
            change(world)
            await epochs.reload()
            after = _plugin_in(epochs)
            # Those of before go on while new ones come, so that both versions are at work.
            world.sender.let_go()
            for message in messages[MESSAGES:]:
                await router.route(message)
            await asyncio.gather(*in_flight)
            await epochs.close()
    assert epochs.current.number == 2, f"not reloaded: {errors}"  # noqa: PLR2004 - the second one
    assert (after is before) is is_kept, "kept" if after is before else "not kept"
    assert not errors, f"{errors[0]}\n{len(errors)} errors over a reload, with seed {case.seed}"


def _plugin_in(epochs: LiveEpochs) -> Plugin:
    plugins = epochs.current.routes[USER].plugins
    return next(plugin for plugin in plugins if plugin.name == NAME)


class _World:
    """A configuration that names the plugin, and all that routing takes."""

    def __init__(self, case: Case, folder: Path, clock: VirtualClock) -> None:
        self._case = case
        self.file = folder / "config.yaml"
        self.sender = _Sender()
        self.registry = Registry(clock, seed=case.seed)
        self._target = definition_of(case.target, self.registry).target
        self.edit_code()
        self.registry.give("first", _First, folder)
        self.configure("a0", "a1", "a2")

    def edit_code(self) -> None:
        """Have the code changed, as far as the router can tell."""
        self.registry.give(NAME, self._target, Path.cwd())

    def configure(self, *names: str) -> None:
        """Write a configuration with these downstreams."""
        case = self._case
        plugin = {"use": NAME, "options": dict(case.options)} if case.options else NAME
        hooks = self.registry.find(NAME, Path.cwd())
        is_algorithm = "select_downstream" in hook_names(hooks.target)
        options = case.downstream_options or [{}]
        user = {
            "email": USER,
            "password": "password",
            "algorithm": plugin if is_algorithm else "first",
            "plugins": [] if is_algorithm else [plugin],
            "downstreams": [
                {
                    "name": name,
                    "addr": f"{name}.example:25",
                    "options": dict(options[place % len(options)]),
                }
                for place, name in enumerate(names)
            ],
        }
        self.file.write_text(json.dumps({"hook_timeout_s": case.limit_s, "users": [user]}), "utf-8")


class _First:
    """The algorithm beside a plugin that is none."""

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return downstreams[0]


class _Sender:
    """Holds the first attempt of each message until it is let go; then it fails. Others deliver."""

    def __init__(self) -> None:
        self._gone_on = asyncio.Event()
        self._news = asyncio.Event()
        self._held = 0
        self._tried: set[str] = set()

    async def holds(self, tasks: Sequence[asyncio.Task[Reply]]) -> None:
        """Wait until all of these are held, or have been answered without an attempt."""
        for task in tasks:
            task.add_done_callback(lambda _: self._news.set())
        while self._held + sum(task.done() for task in tasks) < len(tasks):
            self._news.clear()
            await self._news.wait()

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._gone_on.set()

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
        """Try to deliver."""
        del downstream, settings, until, deadline
        if message.id not in self._tried:
            self._tried.add(message.id)
            self._held += 1
            self._news.set()
            await self._gone_on.wait()
            return unreachable()
        on_final()
        return delivered()


@contextmanager
def _errors() -> Iterator[list[str]]:
    """What the router logs as an error meanwhile."""
    errors: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields: dict[str, Any] = getattr(record, "fields", {})
            trace = self.formatter.formatException(record.exc_info) if record.exc_info else ""  # type: ignore[union-attr]
            errors.append(f"{record.getMessage()}: {fields} {trace}")

    handler = Handler(logging.ERROR)
    handler.setFormatter(logging.Formatter())
    logger = logging.getLogger("smtp_router")
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
