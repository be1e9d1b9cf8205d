"""The parent of a crew: starts the workers, watches them, starts them again, drains them.

Rules:
1. It takes no mail and runs no plugin, so that nothing but itself can end it.
2. A worker that has ended is started again at once. One that has not lived for `STABLE_S` waits first,
   twice as long each time, up to `MAX_PAUSE_S`.
3. If it is gone itself, however it went, each worker sees its line closed, drains and ends.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from smtp_router.config.load import Loaded
from smtp_router.control.server import Answers, Control, Question
from smtp_router.core.errors import SmtpRouterError
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.together import Plan, Together
from smtp_router.workers import merged
from smtp_router.workers.child import Child
from smtp_router.workers.epochs import SharedEpochs
from smtp_router.workers.line import LostError, Words
from smtp_router.workers.listening import Listening
from smtp_router.workers.order import Order

log = logging.getLogger(__name__)

STABLE_S = 10.0
"""Who has lived for so long has not failed to start."""
PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
BEAT_S = 0.5
"""How often a worker is asked whether it lives."""
NOT_READY_S = 10.0
"""After how long without an answer it is not ready, as a single process is not."""
ANSWER_S = 4.0
"""How long all may take to answer a question, of the 5 s that whoever asks has patience."""

READY = "STATUS=Ready"


class StartError(SmtpRouterError):
    """The crew could not start; the problems say why."""

    def __init__(self, problems: list[str]) -> None:
        """See the class."""
        super().__init__("\n".join(problems))
        self.problems = problems


class Parent:
    """One crew."""

    def __init__(
        self,
        loaded: Loaded,
        memory: SharedMemory,
        plan: Plan,
        *,
        log_format: str,
        log_level: str,
        notify: Callable[..., None],
        ping: Callable[[], Coroutine[Any, Any, None]],
        watchdog_s: float,
    ) -> None:
        """Nothing is started yet.

        Args:
            loaded: the configuration.
            memory: what all share.
            plan: how it is laid out, and how many workers there are.
            log_format: as the workers are to have it.
            log_level: the same.
            notify: told how it fares, in the lines of sd_notify(3).
            ping: gives signs of life, from when all are ready.
            watchdog_s: after so many seconds without a sign of life a worker is ended; 0: never.
        """
        self._settings = loaded.settings
        self._plan = plan
        self._memory = memory
        self._together = Together(memory, plan, 0)
        self._notify = notify
        self._ping = ping
        self._watchdog_s = watchdog_s
        self._order = Order(
            config=Path(loaded.file).absolute(),
            log_format=log_format,
            log_level=log_level,
            worker=0,
            plan=plan,
            memory=memory.descriptor,
            line=-1,
            listening=(),
        )
        self._children: dict[int, Child] = {}
        self._epochs = SharedEpochs(lambda: [*self._children.values()])
        self._rests: dict[tuple[object, ...], Mapping[str, object]] = {}
        self._listening: Listening | None = None
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._started = asyncio.Event()
        self._was_ready = True
        self._problems: list[str] = []
        self._control: Control | None = None
        if loaded.settings.control is not None:
            answers: Answers = {"trace": self._told_traces, "status": self._told_status}
            self._control = Control(loaded.folder / loaded.settings.control, answers)

    async def run(self) -> None:
        """Serve until `stop` is called, and all workers have drained.

        Raises:
            OSError: an address (its `filename`) cannot be listened on.
            StartError: a worker could not begin.
        """
        listening = self._listening = Listening(self._settings.listen, self._plan.workers)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = [tasks.create_task(self._keep(each)) for each in range(self._plan.workers)]
                others = [tasks.create_task(work()) for work in (self._begin, self._reloading)]
                await asyncio.wait(keeping)
                for task in others:
                    task.cancel()
            if self._problems and not self._started.is_set():
                raise StartError(self._problems)
        finally:
            listening.close()
            if self._control:
                await self._control.close()
        log.info("stopped")

    def stop(self) -> None:
        """Drain all; a second time, cut off what is still running."""
        if not self._stopping.is_set():
            if self._started.is_set():
                log.info("draining")
                self._notify("STOPPING=1", "STATUS=Draining")
            self._stopping.set()
            if self._listening is not None:
                self._listening.close()
        for child in self._children.values():
            child.tell("stop")

    def reload(self) -> None:
        """Have all workers read the configuration and all plugins again."""
        self._reload.set()

    async def _begin(self) -> None:
        """Say that all are ready, when they are, and from then on that they live."""
        await self._all_ready.wait()
        assert self._listening is not None
        for address in self._listening.addresses():
            log.info("listening on %s", address)
        if self._control:
            await self._control.start()
        self._started.set()
        self._notify("READY=1", READY)
        await self._ping()

    async def _reloading(self) -> None:
        await self._started.wait()
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                await self._epochs.reload()
            finally:
                self._notify("READY=1", READY)

    # One worker

    async def _keep(self, worker: int) -> None:
        """Have this worker running until all stop."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            how, pid, problems = await self._live(worker)
            self._together.free(worker)
            for child in self._children.values():
                child.tell("lost", by=worker)
            if self._stopping.is_set():
                return
            if not self._started.is_set():
                self._problems = self._problems or problems or [f"a worker has ended: {how}"]
                self.stop()
                return
            failures = 0 if time.monotonic() - began >= STABLE_S else failures + 1
            pause_s = min(PAUSE_S * 2.0 ** (failures - 2), MAX_PAUSE_S) if failures > 1 else 0.0
            fields = {"worker": worker, "pid": pid, "status": how, "again_in_s": pause_s}
            log.error("worker has ended", extra={"fields": fields})
            for problem in problems:
                log.error(
                    "worker cannot begin", extra={"fields": {"worker": worker, "problem": problem}}
                )
            if pause_s and self._listening is not None:
                self._listening.close_of(worker)
                with_patience = asyncio.wait_for(self._stopping.wait(), pause_s)
                await asyncio.gather(with_patience, return_exceptions=True)

    async def _live(self, worker: int) -> tuple[str, int | None, list[str]]:
        """One life: how it ended, the process, and why it did not begin."""
        assert self._listening is not None
        try:
            child = await Child.start(
                self._order.of(worker),
                self._listening.of(worker),
                asked=self._asked,
                told=self._told,
            )
        except OSError as error:
            return "not started", None, [error.strerror or str(error)]
        self._children[worker] = child
        if self._stopping.is_set():
            child.tell("stop")
        watching = asyncio.create_task(self._watch(child))
        try:
            how = await child.ended()
        finally:
            watching.cancel()
            del self._children[worker]
        return how, child.pid, child.problems

    async def _watch(self, child: Child) -> None:
        """See that it lives; and that it ends, when it is to."""
        loop = asyncio.get_running_loop()
        stopping_since = 0.0
        while True:
            await asyncio.sleep(BEAT_S)
            if child.is_ready.is_set():
                try:
                    said = await child.ask("alive", within_s=BEAT_S)
                except LostError:
                    pass
                else:
                    child.heard_at, child.end_s = loop.time(), said["end_s"]
                self._ready_or_not()
                silent_s = loop.time() - child.heard_at
                if self._watchdog_s and silent_s > self._watchdog_s:
                    fields = {"worker": child.worker, "pid": child.pid, "seconds": round(silent_s, 1)}
                    log.error("worker does not answer, and is ended", extra={"fields": fields})
                    child.kill(signal.SIGABRT)
                    return
            if self._stopping.is_set():
                stopping_since = stopping_since or loop.time()
                if loop.time() - stopping_since > child.end_s:
                    fields = {"worker": child.worker, "pid": child.pid}
                    log.error("worker does not end, and is ended", extra={"fields": fields})
                    child.kill()
                    return

    def _ready_or_not(self) -> None:
        if self._stopping.is_set() or not self._started.is_set():
            return
        held = [str(child.worker) for child in self._children.values() if self._is_held(child)]
        if self._was_ready is not (not held):
            self._was_ready = not held
            what = f"the event loop of worker {', '.join(held)} is held, see the log"
            self._notify(f"STATUS=Not ready: {what}" if held else READY)

    def _is_held(self, child: Child) -> bool:
        now = asyncio.get_running_loop().time()
        return child.is_ready.is_set() and now - child.heard_at > NOT_READY_S

    # What workers say

    async def _asked(self, child: Child, what: str, said: Words) -> object:
        match what:
            case "loaded":
                return {"epoch": await self._epochs.join(child, said["digest"])}
            case "agree":
                await self._epochs.agree(child, read=said["read"])
            case _:
                raise ValueError(what)
        return None

    def _told(self, child: Child, what: str, said: Words) -> None:
        match what:
            case "refused":
                child.problems = said["problems"]
                child.dismiss()
            case "ready":
                child.heard_at = asyncio.get_running_loop().time()
                child.is_ready.set()
                self._greet(child)
                if sum(one.is_ready.is_set() for one in self._children.values()) == self._plan.workers:
                    self._all_ready.set()
            case "news":
                self._spread(child, said["news"])
            case _:
                raise ValueError(what)

    def _greet(self, child: Child) -> None:
        """Tell one that has just begun what the others know."""
        if self._started.is_set():
            fields = {"worker": child.worker, "pid": child.pid}
            log.info("worker has begun", extra={"fields": fields})
        for news in self._rests.values():
            child.tell("news", news=news, by=child.worker)

    def _spread(self, teller: Child, news: Mapping[str, object]) -> None:
        for child in self._children.values():
            if child is not teller:
                child.tell("news", news=news, by=teller.worker)
        rest = news.get("rest")
        if isinstance(rest, dict):
            now = time.monotonic()
            self._rests = {key: one for key, one in self._rests.items() if _until(one) > now}
            self._rests[rest["user"], rest["downstream"], rest["whose"]] = news

    # What the router's own commands ask (see `smtp_router.control`)

    async def _told_traces(self, question: Question) -> object:
        return merged.traces([one for _, one in await self._answers("trace", question)])

    async def _told_status(self, question: Question) -> object:
        told = await self._answers("status", question)
        ready = {child.pid for child, one in told if one["ready"]}
        workers = [
            {"worker": child.worker, "pid": child.pid, "ready": child.pid in ready}
            for child in self._children.values()
        ]
        return merged.status([one for _, one in told], workers=workers, wanted=self._plan.workers)

    async def _answers(self, name: str, question: Question) -> list[tuple[Child, Any]]:
        """What all workers say; who does not answer is left out."""
        children = [child for child in self._children.values() if child.is_ready.is_set()]
        asked = (
            child.ask("question", within_s=ANSWER_S, name=name, question=question) for child in children
        )
        found = await asyncio.gather(*asked, return_exceptions=True)
        both = zip(children, found, strict=True)
        return [(child, one) for child, one in both if not isinstance(one, BaseException)]


def _until(news: Mapping[str, object]) -> float:
    rest = news["rest"]
    assert isinstance(rest, dict)
    return float(rest["until"] or 0.0)
