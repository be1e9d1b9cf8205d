"""Which epoch is at work, and how the next one takes its place.

The configuration and the plugins' files are looked at again on request, and when their contents have
changed. What cannot be used leaves the epoch at work as it is, and is logged once per change.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from smtp_router.config.load import Loaded, load
from smtp_router.core.errors import ConfigError
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import Epoch, build

log = logging.getLogger(__name__)


class LiveEpochs:
    """Holds the epoch at work and replaces it by one assignment."""

    def __init__(
        self,
        first: Loaded,
        registry: Registry,
        *,
        read: Callable[[Path], Loaded] = load,
    ) -> None:
        """Build the first epoch.

        Args:
            first: the configuration to start with.
            registry: where plugins come from.
            read: reads the configuration file again.

        Raises:
            ConfigError: it cannot be used.
        """
        self._registry = registry
        self._read = read
        self._loaded = first
        self._lock = asyncio.Lock()
        self.current: Epoch = build(first, registry)
        """The epoch at work."""

    async def refresh(self) -> Epoch:
        """Look at the plugins' files again; the epoch at work after that."""
        async with self._lock:
            if any(file.changed() for file in self.current.plugin_files):
                await self._swap(read=False)
            return self.current

    async def reload(self) -> None:
        """Read the configuration and all plugins again."""
        async with self._lock:
            await self._swap(read=True)

    async def poll(self) -> None:
        """Reload what has changed since it was last looked at."""
        async with self._lock:
            config, plugins = await asyncio.to_thread(self._changes)
            if config or plugins:
                await self._swap(read=config)

    def _changes(self) -> tuple[bool, bool]:
        config = any(watch.changed() for watch in self._loaded.watches)
        plugins = any(file.changed() for file in self.current.plugin_files)
        return config, plugins

    async def _swap(self, *, read: bool) -> None:
        """Build the next epoch in a thread, and put it in place if it can be used."""
        before = self.current.settings
        try:
            self.current = await asyncio.to_thread(self._next, read=read)
        except ConfigError as error:
            for problem in error.problems:
                log.error(  # noqa: TRY400 - the problem says it all
                    "not reloaded, the old configuration stays",
                    extra={"fields": {"problem": str(problem)}},
                )
        else:
            log.info("reloaded", extra={"fields": {"epoch": self.current.number}})
            if self.current.settings.listen != before.listen:
                log.warning("listen has changed, which takes a restart")

    def _next(self, *, read: bool) -> Epoch:
        if read:
            for watch in self._loaded.watches:
                watch.look()  # a file that is broken is complained about once
            loaded = self._read(self._loaded.file)
            epoch = build(loaded, self._registry, self.current)
            self._loaded = loaded
            return epoch
        return build(self._loaded, self._registry, self.current)
