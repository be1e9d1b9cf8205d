"""A router whose outside is scripted: real configuration, real plugin files, no sockets and no time."""

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from smtp_router import Health, Outcome, Reply
from smtp_router.config.load import load
from smtp_router.core.breaker import Rules
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import Route
from smtp_router.routing.health import Gauge
from smtp_router.routing.lease import Books
from smtp_router.routing.quotas import Quotas
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import Router
from smtp_router.routing.targets import Targets
from smtp_router.routing.traces import Traces
from smtp_router.state.file import StateFile
from smtp_router.state.ledger import Ledger
from tests.support import (
    USER,
    ScriptedSender,
    Step,
    VirtualClock,
    config_text,
    make_message,
    unreachable,
)

FIRST = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    return downstreams[0]
"""
"""The algorithm that takes the first that is left."""
THREE = {name: f"{name}.example:25" for name in "abc"}
"""Three downstreams, by name."""


class Bench:
    """One router in a folder.

    Args:
        folder: where `config.yaml` and the plugin files are.
        files: plugins' sources by name; `algorithm.py` is `FIRST` unless it is given, and the others are
            `plugins`, in this order, unless the configuration says something else.
        script: what the sender does, as for `ScriptedSender`.
        takes_s: how long it takes to do so.
        state: the state file, opened when a limit needs it; a test that has one closes `quotas`.
        books: what quotas are kept in, if it is no state file.
        config: what the file says, as for `config_text`.
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str] | None = None,
        *,
        script: Mapping[str, Step | Iterable[Step]] | None = None,
        takes_s: float | Mapping[str, float] = 0.0,
        state: Path | None = None,
        books: Books | None = None,
        **config: Any,  # noqa: ANN401 - as for config_text
    ) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        files = {"algorithm.py": FIRST, **(files or {})}
        for name, source in files.items():
            self.write(name, source)
        others = [f"./{name}" for name in files if name != "algorithm.py"]
        self.write("config.yaml", config_text(**{"plugins": others, **config}))
        self.clock = VirtualClock()
        self.sender = ScriptedSender(script, self.clock, takes_s)
        self.state = state or folder / "state.db"
        self.books = books or Ledger(StateFile(self.state))
        self.quotas = Quotas(self.clock, self.books)
        shared = Targets(self.quotas)
        self.epochs = LiveEpochs(load(self.config), Registry(self.clock), shared=shared)
        self.traces = Traces()
        self.chances: Iterator[float] = itertools.repeat(0.0)
        self.router = Router(
            self.epochs, self.sender, self.clock, chance=lambda: next(self.chances), traces=self.traces
        )

    def write(self, name: str, text: str) -> Path:
        """Write a file that only we may write."""
        path = self.folder / name
        path.write_text(dedent(text))
        path.chmod(0o644)
        return path

    async def route(self, **changes: Any) -> Reply:  # noqa: ANN401 - any field of a message
        reply = await self.router.route(make_message(**changes))
        await asyncio.sleep(0)  # the next one comes in another turn, as from a client
        return reply

    @property
    def user(self) -> Route:
        """The route of `USER` in the epoch at work."""
        return self.epochs.current.routes[USER]

    def health(self, name: str) -> Health:
        """How a downstream of `USER` fares now."""
        return self.user.targets[name].seen(self.clock.now()).health

    def globals_of(self, name: str) -> dict[str, Any]:
        """What stands in the module of a plugin of `USER`; a test may put something there."""
        function: Any = next(
            plugin.calls[0].function for plugin in self.user.plugins if plugin.name == f"./{name}"
        )
        found: dict[str, Any] = function.__globals__
        return found

    def seen(self, name: str) -> list[Any]:
        """What a plugin of `USER` has put into its list `SEEN`."""
        seen = self.globals_of(name)["SEEN"]
        assert isinstance(seen, list)
        return seen


def rest(gauge: Gauge, outcome: Outcome | None = None, *, now: float = 0.0) -> None:
    """Have as many attempts fail as it takes."""
    for _ in range(Rules().failures):
        fail(gauge, outcome, now=now)


def fail(gauge: Gauge, outcome: Outcome | None = None, *, now: float = 0.0) -> None:
    """Have one attempt end like this, by default without a connection."""
    entries = gauge.enter(now)
    gauge.count(entries, outcome or unreachable(), 0.1, now, rules=Rules(), chance=lambda: 0.0)
    gauge.leave(entries)


def records(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The fields of all log records with this message."""
    return [vars(record).get("fields", {}) for record in caplog.records if record.getMessage() == event]


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of all log records that are errors."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
