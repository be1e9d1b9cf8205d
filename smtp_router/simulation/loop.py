"""An event loop in which time is a number: nobody waits for it, it jumps to what is next.

Rules:
1. All that can be done at an instant is done before time goes on.
2. What is due at the same instant is done in the order in which it was asked for.
3. There is no outside: no network, no files to wait for, no processes, no signals. Who asks is refused.
4. Work for a thread is done at once, in place, and takes no time.
"""

import asyncio
import heapq
import itertools
import logging
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

unheard = logging.getLogger(__name__)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

CALLS_AT_AN_INSTANT = 100_000_000
"""Whoever asks for so many turns without time going on, waits for something that cannot come."""

_FEW = 1000
"""So many timers may be there before those that were cancelled are swept out."""


class OutsideError(OSError):
    """Something was asked for that a simulation does not have."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs tasks in virtual time, which begins at 0."""

    def __init__(self) -> None:
        """Nothing is to be done."""
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, Callable[[], object], asyncio.TimerHandle | None]] = []
        self._order = itertools.count()
        self._sweep_at = _FEW
        self._is_stopping = self._is_running = self._is_closed = False
        self._debug = False

    # Time

    def time(self) -> float:
        """The present instant in seconds."""
        return self._now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call it at this instant, after what is to be done already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it at an instant."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._due(when, timer._run, timer)  # noqa: SLF001 - what an event loop does with its handles
        return timer

    def due(self, when: float, run: Callable[[], object]) -> None:
        """The same for who never takes it back, lets nothing out, and has a context of its own.

        Most of a simulation is that, and a handle costs as much as what it is for.
        """
        self._due(when, run, None)

    def _due(self, when: float, run: Callable[[], object], timer: asyncio.TimerHandle | None) -> None:
        timers = self._timers
        if len(timers) >= self._sweep_at:
            self._sweep()
            timers = self._timers
        heapq.heappush(timers, (max(self._now, when), next(self._order), run, timer))

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        """A timer is not needed any more; it is left where it is."""

    def _sweep(self) -> None:
        """Most timers are limits of time that were kept to: take out those that were cancelled."""
        self._timers = [one for one in self._timers if one[3] is None or not one[3].cancelled()]
        heapq.heapify(self._timers)
        self._sweep_at = 2 * len(self._timers) + _FEW

    # Running

    def run_forever(self) -> None:
        """Run until `stop`.

        Raises:
            RuntimeError: nothing is left to be done, or time does not go on.
        """
        self._is_running, self._is_stopping = True, False
        events._set_running_loop(self)  # noqa: SLF001 - documented for those who write event loops
        try:
            while not self._is_stopping:
                if self._ready:
                    self._run_instant()
                else:
                    self._jump()
        finally:
            self._is_running = False
            events._set_running_loop(None)  # noqa: SLF001 - as above

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - whatever it comes to
        """Run until it is done; what came of it."""
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(self._stop_for)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(self._stop_for)
        return task.result()

    def stop(self) -> None:
        """Run no more, behind what is being done."""
        self._is_stopping = True

    def _stop_for(self, _: asyncio.Future[Any]) -> None:
        self._is_stopping = True

    def _run_instant(self) -> None:
        """Do all that can be done now."""
        ready = self._ready
        for _ in range(CALLS_AT_AN_INSTANT):
            if not ready or self._is_stopping:
                return
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - what an event loop does with its handles
        raise RuntimeError("something asks for turn after turn, and leaves no time to go on")

    def _jump(self) -> None:
        """Go to the next instant at which there is something to do, and do the first of it."""
        pop, timers, ready = heapq.heappop, self._timers, self._ready
        while timers:
            when, _, run, timer = pop(timers)
            if timer is None or not timer.cancelled():
                self._now = when
                run()
                if ready or self._is_stopping or timers is not self._timers:
                    return
        if not self._timers:
            raise RuntimeError("everybody waits, and nothing is going to happen")

    # What tasks need

    def create_future(self) -> asyncio.Future[Any]:
        """A future."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # its options differ between versions of Python
        self,
        coro: Coroutine[Any, Any, _T],
        **options: Any,  # noqa: ANN401 - as above
    ) -> asyncio.Task[_T]:
        """A task."""
        return asyncio.Task(coro, loop=self, **options)

    def run_in_executor(
        self, executor: object, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Do it here and now; see rule 4."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody was there to hear."""
        unheard.error(
            "nobody was told of a failure: %s", context["message"], exc_info=context.get("exception")
        )

    def get_debug(self) -> bool:
        """Whether asyncio looks closely."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - the base class has it
        """Have asyncio look closely."""
        self._debug = enabled

    # Its end

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    def close(self) -> None:
        """Forget what was to be done."""
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    async def shutdown_asyncgens(self) -> None:
        """There are none that it keeps."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """There is none."""

    # The outside

    def _refuse(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - nothing
        raise OutsideError("a simulation has no network, processes or signals to wait for")

    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = connect_accepted_socket = start_tls = _refuse
    getaddrinfo = getnameinfo = sendfile = _refuse
    sock_accept = sock_connect = sock_recv = sock_recv_into = sock_sendall = sock_sendfile = _refuse
    sock_recvfrom = sock_recvfrom_into = sock_sendto = _refuse
    add_reader = add_writer = remove_reader = remove_writer = _refuse
    connect_read_pipe = connect_write_pipe = subprocess_exec = subprocess_shell = _refuse
    add_signal_handler = remove_signal_handler = set_default_executor = _refuse
