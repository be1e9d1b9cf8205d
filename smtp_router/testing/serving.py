"""The whole router, on an event loop in a thread of its own.

Leaving the `with` block stops it in order, and finds no task left behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from smtp_router.config.load import load
from smtp_router.config.types import HostPort
from smtp_router.hooks.registry import Registry
from smtp_router.service import Service
from smtp_router.testing.log import WAIT_S, LogHandler, RouterLog


class ServiceThread:
    """A router that a test runs beside itself.

    Args:
        file: its configuration.
        registry: where its plugins come from, if not from where all others do.
        loop_factory: makes its event loop.
        log: where entries of the log go.

    Raises:
        ConfigError: (on entering) the configuration cannot be used.
    """

    def __init__(
        self,
        file: Path,
        *,
        registry: Registry | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        log: RouterLog | None = None,
    ) -> None:
        self.log: RouterLog = log or RouterLog()
        self._file, self._registry, self._loop_factory = file, registry, loop_factory
        self._thread = threading.Thread(target=self._main, name="router", daemon=True)
        self._started: Future[tuple[Service, asyncio.AbstractEventLoop]] = Future()
        self._ended: Future[None] = Future()
        self._handler = LogHandler(self.log)
        self._changed = threading.Condition()
        self._is_reloading = False
        self._reloads = 0

    def __enter__(self) -> Self:
        self._handler.start()
        try:
            self._thread.start()
            self.service, self.loop = self._started.result(WAIT_S)
        except BaseException:
            self._handler.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
            self.ended()
        finally:
            self._handler.stop()

    @property
    def port(self) -> int:
        """The first TCP port that it listens on; 0 if there is none."""
        addresses = self.service.addresses
        return next((one.port for one in addresses if isinstance(one, HostPort)), 0)

    def stop(self) -> None:
        """Begin to drain; the second time, cut off."""
        if not self._ended.done():
            self.loop.call_soon_threadsafe(self.service.stop)

    def ask_to_reload(self) -> None:
        """What SIGHUP does."""
        self.loop.call_soon_threadsafe(self.service.reload)

    def reload(self) -> None:
        """Reload, and wait until that is done.

        Raises:
            AssertionError: it takes too long.
        """
        with self._changed:
            before = self._reloads
            self.ask_to_reload()
            done = self._changed.wait_for(lambda: self._reloads > before, WAIT_S)
        assert done, f"not reloaded within {WAIT_S} s"

    def ended(self, seconds: float = 2 * WAIT_S) -> None:
        """Wait until the router has stopped; raises what ended it."""
        self._ended.result(seconds)
        self._thread.join(WAIT_S)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            target = self._ended if self._started.done() else self._started
            target.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        service = Service(load(self._file), registry=self._registry, notify=self._notified)
        await service.start()
        self._started.set_result((service, asyncio.get_running_loop()))
        await service.run()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"

    def _notified(self, *lines: str) -> None:
        with self._changed:
            if "RELOADING=1" in lines:
                self._is_reloading = True
            elif "READY=1" in lines and self._is_reloading:
                self._is_reloading = False
                self._reloads += 1
                self._changed.notify_all()
