"""Which epoch is at work, and how the next one takes its place.

The configuration and the plugins' files are looked at again on request, and when their contents have
changed. What cannot be used leaves the epoch at work as it is, and is logged once per change.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from smtp_router.config.load import InvalidConfigError, Loaded, load
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.disk import Watch
from smtp_router.hooks.files import PluginFile
from smtp_router.hooks.registry import Registry
from smtp_router.machine import no_collections
from smtp_router.routing.epoch import Epoch, build
from smtp_router.routing.retired import Retired
from smtp_router.routing.shield import to_the_end
from smtp_router.routing.targets import Targets

log = logging.getLogger(__name__)

Agree = Callable[[bool], Awaitable[None]]


class Prepared(NamedTuple):
    """What became of an attempt at the next epoch."""

    is_new: bool
    """Whether there is one to take up."""
    digest: str
    """What it is made of."""
    problems: list[str]
    """What keeps the configuration as it stands now from being used."""


class LiveEpochs:
    """Holds the epoch at work and replaces it by one assignment."""

    def __init__(
        self,
        first: Loaded,
        registry: Registry,
        *,
        shared: Targets | None = None,
        read: Callable[[Path], Loaded] = load,
        agree: Agree | None = None,
        check: Callable[[Loaded], Sequence[Problem]] = lambda _: (),
        on_swap: Callable[[Epoch], None] = lambda _: None,
    ) -> None:
        """Build the first epoch.

        Args:
            first: the configuration to start with.
            registry: where plugins come from.
            shared: what the targets of all epochs share.
            read: reads the configuration file again.
            agree: has others prepare the next epoch, too, and all of them take it up, or none; without
                it, this one decides alone.
            check: what else is wrong with a configuration.
            on_swap: told of each epoch that takes another's place, when it does.

        Raises:
            ConfigError: it cannot be used.
        """
        self._registry = registry
        self._read = read
        self._agree = agree
        self._check = check
        self._on_swap = on_swap
        self._prepared: Epoch | None = None
        self._loaded = first
        self._refused: tuple[Watch | PluginFile, ...] = ()  # what may mend a configuration that is bad
        self._lock = asyncio.Lock()
        self._retired = Retired(registry.clock)
        self.current: Epoch = build(first, registry, shared=shared)
        """The epoch at work."""

    async def refresh(self) -> Epoch:
        """Look at the plugins' files again; the epoch at work after that.

        What is begun is ended, also if the client that it is for goes away: a file is read only once.
        """
        return await to_the_end(self._refresh())

    async def _refresh(self) -> Epoch:
        async with self._lock:
            if any(file.changed() for file in self.current.plugin_files):
                await self._swap(read=False)
            return self.current

    @property
    def digest(self) -> str:
        """What the epoch at work is made of: the same for all who have read the same files."""
        return _digest(self.current)

    async def prepare(self, *, read: bool) -> Prepared:
        """Build the next epoch aside, in a thread; `commit` or `abort` has to follow.

        Args:
            read: read the configuration again, not only the plugins.
        """
        problems: list[str] = []

        def work() -> tuple[Epoch, str]:
            epoch = self._next(problems, read=read)
            return epoch, _digest(epoch)

        with no_collections():
            epoch, digest = await asyncio.to_thread(work)
        self._prepared = None if epoch is self.current else epoch
        return Prepared(self._prepared is not None, digest, problems)

    async def commit(self) -> None:
        """Put in place what is prepared."""
        before, self._prepared = self.current, self._begun()
        self.current, self._prepared = self._prepared, None
        self._loaded = self.current.loaded
        self._on_swap(self.current)
        await asyncio.to_thread(self._retired.add, before, successor=self.current)
        log.info("reloaded", extra={"fields": {"epoch": self.current.number}})
        if self.current.settings.listen != before.settings.listen:
            log.warning("listen has changed, which takes a restart")
        if self.current.settings.state != before.settings.state:
            log.warning("state has changed, which takes a restart")
        if self.current.settings.control != before.settings.control:
            log.warning("control has changed, which takes a restart")
        if self.current.settings.workers != before.settings.workers:
            log.warning("workers has changed, which takes a restart")

    async def abort(self) -> None:
        """Drop what is prepared: somebody else cannot use it."""
        epoch, self._prepared = self._begun(), None
        self._refused = (*epoch.loaded.watches, *self._registry.files)
        await asyncio.to_thread(self._retired.add, epoch, successor=self.current)

    def numbered(self, number: int) -> None:
        """Give the epoch at work the number that others know it by."""
        self.current = replace(self.current, number=number)

    def _begun(self) -> Epoch:
        assert self._prepared is not None
        return self._prepared

    async def reload(self) -> None:
        """Read the configuration and all plugins again."""
        async with self._lock:
            await self._swap(read=True)

    async def poll(self) -> None:
        """Reload what has changed since it was last looked at, and close what is done with."""
        async with self._lock:
            config, plugins = await self.changed()
            if config or plugins:
                await self._swap(read=config)
        await self._retired.close_due()

    async def close(self) -> None:
        """Close all plugins: nothing is routed any more."""
        for route in self.current.routes.values():
            if route.shadow:
                await route.shadow.done()
        self._retired.add(self.current)
        await self._retired.close_all()

    async def changed(self) -> tuple[bool, bool]:
        """Whether the configuration has changed since it was last read, and whether a plugin has."""
        return await asyncio.to_thread(self._changes)

    def _changes(self) -> tuple[bool, bool]:
        config = any(file.changed() for file in (*self._loaded.watches, *self._refused))
        plugins = any(file.changed() for file in self.current.plugin_files)
        return config, plugins

    async def _swap(self, *, read: bool) -> None:
        """Put the next epoch in place if it can be used, by all who have to agree."""
        if self._agree is not None:
            await self._agree(read)
            return
        prepared = await self.prepare(read=read)
        for problem in prepared.problems:
            log.error(
                "not reloaded, the old configuration stays", extra={"fields": {"problem": problem}}
            )
        if prepared.is_new:
            await self.commit()

    def _next(self, problems: list[str], *, read: bool) -> Epoch:
        """The next epoch, or the one at work if no other can be used."""
        if read:
            try:
                return self._read_again()
            except ConfigError as error:
                problems += map(str, error.problems)
            if not any(route.is_stale() for route in self.current.routes.values()):
                return self.current
        try:
            return build(self._loaded, self._registry, self.current)
        except ConfigError as error:
            problems += map(str, error.problems)
            return self.current

    def _read_again(self) -> Epoch:
        for watch in self._loaded.watches:
            watch.look()  # a file that is broken is complained about once
        self._refused = ()
        try:
            loaded = self._read(self._loaded.file)
        except InvalidConfigError as error:
            self._refused = error.usable.watches
            raise
        try:
            if problems := self._check(loaded):
                raise ConfigError(problems)
            return build(loaded, self._registry, self.current)
        except ConfigError:
            self._refused = (*loaded.watches, *self._registry.files)
            raise


def _digest(epoch: Epoch) -> str:
    """Of all that an epoch was read from, in the versions that are at work."""
    found = [watch.digest for watch in epoch.loaded.watches]
    found += sorted(f"{file.path}:{file.digest}" for file in epoch.plugin_files)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()
