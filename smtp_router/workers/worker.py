"""One worker: a whole service that does what its parent says, and ends when the parent is gone."""

import asyncio
import gc
import logging
import os
import signal
import socket

from smtp_router.config.aside import Reading, load_aside
from smtp_router.core.errors import ConfigError
from smtp_router.crew import Crew
from smtp_router.routing.journal import Journal
from smtp_router.service import Service
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.together import Together
from smtp_router.workers.line import Line, LostError, Words
from smtp_router.workers.order import Order

AGREE_S = 5.0
"""How long a message may wait until all workers have taken up a changed plugin; longer, and it goes by
the one that is at work."""
EXTRA_S = 10.0
"""What a worker may take to end beyond the time for its transactions."""

_SAID_ONCE = ("smtp_router.hooks.files", "smtp_router.hooks.installed", "smtp_router.routing.reload")
"""Who logs what is the same for all workers, when all load the same."""


class Worker:
    """What the parent talks to."""

    def __init__(self, order: Order, reading: Reading, memory: SharedMemory, journal: Journal) -> None:
        """Nothing is loaded yet.

        Args:
            order: what the parent has said.
            reading: the configuration to begin with.
            memory: what all workers share.
            journal: where attempts and messages are written.
        """
        self._order = order
        self._reading = reading
        self._memory = memory
        self._journal = journal
        self._service: Service | None = None
        self._line: Line | None = None
        self._preparing: asyncio.Task[dict[str, object]] | None = None
        self._stops = 0
        self._speaks = True
        # What the parent says, for all, when all do it: "listening on", "draining", "stopped".
        logging.getLogger("smtp_router.service").setLevel(max(logging.root.level, logging.WARNING))
        for name in _SAID_ONCE:
            logging.getLogger(name).addFilter(lambda _: self._speaks)

    async def run(self) -> None:
        """Serve until the parent says stop, or has ended."""
        _ignore_signals()
        for descriptor in self._order.inherited:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - for what plugins start it is not
        end = socket.socket(fileno=self._order.line)
        line = self._line = await Line.on(end, asked=self._asked, told=self._told)
        listening = asyncio.create_task(line.run())
        listening.add_done_callback(self._parent_ended)
        try:
            self._speaks = self._order.worker == 0
            service = self._service = self._made(line)
        except ConfigError as error:
            line.tell("refused", problems=[str(problem) for problem in error.problems])
            await listening
            return
        try:
            answer = await line.ask("loaded", digest=service.epochs.digest)
        except LostError:
            return
        if answer["epoch"] is None:
            return
        self._speaks = True
        service.epochs.numbered(answer["epoch"])
        await service.start()
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000)
        line.tell("ready")
        for _ in range(self._stops):
            service.stop()
        try:
            await service.run()
        finally:
            listening.cancel()

    def _made(self, line: Line) -> Service:
        """The service.

        Raises:
            ConfigError: it cannot be made of what the configuration says now.
        """
        order = self._order
        crew = Crew(
            worker=order.worker,
            workers=order.plan.workers,
            together=Together(self._memory, order.plan, order.worker),
            listening=[[socket.socket(fileno=each) for each in one] for one in order.listening],
            tell=lambda news: line.tell("news", news=news),
            agree=self._agree,
        )
        return Service(self._reading.result(), journal=self._journal, fellows=crew, read=load_aside)

    async def _agree(self, read: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Have all workers look at what has changed; returns when they have, or after a while."""
        assert self._line is not None
        try:
            async with asyncio.timeout(AGREE_S):
                await self._line.ask("agree", read=read)
        except (LostError, TimeoutError):
            return

    # What the parent says

    def _told(self, what: str, said: Words) -> None:
        match what:
            case "stop":
                self._stop()
            case "news":
                if self._service is not None:
                    self._service.hear(said["news"], said["by"])
            case "lost":
                if self._service is not None:
                    self._service.lost(said["by"])
            case _:
                raise ValueError(what)

    def _parent_ended(self, _: object) -> None:
        if not self._stops:  # or what it was told last goes on as it was said
            self._stop()

    def _stop(self) -> None:
        self._stops += 1
        if self._service is not None:
            self._service.stop()

    async def _asked(self, what: str, said: Words) -> object:
        service = self._service
        assert service is not None
        match what:
            case "alive":
                return {"ready": service.is_ready, "end_s": service.settings.drain_s + EXTRA_S}
            case "changed":
                return await service.epochs.changed()
            case "prepare":
                self._speaks = said["speaks"]
                self._preparing = asyncio.create_task(self._prepare(service, read=said["read"]))
                return await self._preparing
            case "commit":
                await service.epochs.commit()
                self._speaks = True
            case "abort":
                if self._preparing is not None and (await self._preparing)["is_new"]:
                    await service.epochs.abort()
                self._speaks = True
            case "question":
                return await service.answers[said["name"]](said["question"])
            case _:
                raise ValueError(what)
        return None

    async def _prepare(self, service: Service, *, read: bool) -> dict[str, object]:
        return (await service.epochs.prepare(read=read))._asdict()


def _ignore_signals() -> None:
    """Those are the parent's to obey, also where they go to all processes (a terminal, systemd)."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)
