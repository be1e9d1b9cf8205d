"""Which epoch is at work, and how the next one takes its place.

The configuration and the plugins' files are looked at again on request, and when their contents have
changed. What cannot be used leaves the epoch at work as it is, and is logged once per change.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from smtp_router.config.load import InvalidConfigError, Loaded, load
from smtp_router.core.errors import ConfigError
from smtp_router.disk import Watch
from smtp_router.hooks.files import PluginFile
from smtp_router.hooks.registry import Registry
from smtp_router.machine import no_collections
from smtp_router.routing.epoch import Epoch, build
from smtp_router.routing.retired import Retired
from smtp_router.routing.shield import to_the_end
from smtp_router.routing.targets import Targets

log = logging.getLogger(__name__)


class LiveEpochs:
    """Holds the epoch at work and replaces it by one assignment."""

    def __init__(
        self,
        first: Loaded,
        registry: Registry,
        *,
        shared: Targets | None = None,
        read: Callable[[Path], Loaded] = load,
    ) -> None:
        """Build the first epoch.

        Args:
            first: the configuration to start with.
            registry: where plugins come from.
            shared: what the targets of all epochs share.
            read: reads the configuration file again.

        Raises:
            ConfigError: it cannot be used.
        """
        self._registry = registry
        self._read = read
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

    async def reload(self) -> None:
        """Read the configuration and all plugins again."""
        async with self._lock:
            await self._swap(read=True)

    async def poll(self) -> None:
        """Reload what has changed since it was last looked at, and close what is done with."""
        async with self._lock:
            config, plugins = await asyncio.to_thread(self._changes)
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

    def _changes(self) -> tuple[bool, bool]:
        config = any(file.changed() for file in (*self._loaded.watches, *self._refused))
        plugins = any(file.changed() for file in self.current.plugin_files)
        return config, plugins

    async def _swap(self, *, read: bool) -> None:
        """Build the next epoch in a thread, and put it in place if it can be used."""
        before = self.current
        with no_collections():
            self.current = await asyncio.to_thread(self._next, read=read)
        if self.current is not before:
            await asyncio.to_thread(self._retired.add, before, successor=self.current)
            log.info("reloaded", extra={"fields": {"epoch": self.current.number}})
            if self.current.settings.listen != before.settings.listen:
                log.warning("listen has changed, which takes a restart")
            if self.current.settings.state != before.settings.state:
                log.warning("state has changed, which takes a restart")
            if self.current.settings.control != before.settings.control:
                log.warning("control has changed, which takes a restart")

    def _next(self, *, read: bool) -> Epoch:
        """The next epoch, or the one at work if no other can be used."""
        if read:
            try:
                return self._read_again()
            except ConfigError as error:
                _complain(error)
            if not any(route.is_stale() for route in self.current.routes.values()):
                return self.current
        try:
            return build(self._loaded, self._registry, self.current)
        except ConfigError as error:
            _complain(error)
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
            epoch = build(loaded, self._registry, self.current)
        except ConfigError:
            self._refused = (*loaded.watches, *self._registry.files)
            raise
        self._loaded = loaded
        return epoch


def _complain(error: ConfigError) -> None:
    for problem in error.problems:
        log.error(
            "not reloaded, the old configuration stays", extra={"fields": {"problem": str(problem)}}
        )
