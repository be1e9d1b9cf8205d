"""The router as a whole: builds everything, listens, reloads, drains."""

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from smtp_router.config.load import Loaded, load
from smtp_router.config.settings import Settings
from smtp_router.config.types import HostPort, SystemdSocket, UnixPath
from smtp_router.control.server import Answers, Control, Question
from smtp_router.core.clock import Clock
from smtp_router.core.errors import ConfigError
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.credentials import Verifier
from smtp_router.crew import Alone, Fellows, News
from smtp_router.hooks.registry import Registry
from smtp_router.hooks.watch import LoopWatch
from smtp_router.machine import MonotonicClock, max_files
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.epoch import Epoch
from smtp_router.routing.journal import Journal
from smtp_router.routing.logins import Logins
from smtp_router.routing.news import hear
from smtp_router.routing.policy import SENDER, TOO_OFTEN, may_send_as
from smtp_router.routing.ports import Sender
from smtp_router.routing.quotas import Quotas
from smtp_router.routing.reload import LiveEpochs
from smtp_router.routing.router import UNKNOWN_USER, Router
from smtp_router.routing.status import status
from smtp_router.routing.traces import Traces
from smtp_router.smtp.certificate import certificate_problems
from smtp_router.smtp.guard import RESERVED_FILES
from smtp_router.smtp.listener import Listener
from smtp_router.smtp.login import mechanisms_for
from smtp_router.smtp.sender import SmtpSender
from smtp_router.state.doubts import Doubt, DoubtBook
from smtp_router.state.file import StateError, StateFile
from smtp_router.state.ledger import Ledger

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often files are looked at for changes."""
TIDY_S = 1.0
"""How often it is seen to the quotas: what one process gives back, another finds within this time."""
READY = "STATUS=Ready"
LAST_CALL_S = 2.0
"""How long sessions may take to close after they were aborted."""


class Service:
    """One running router."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        registry: Registry | None = None,
        sender: Sender | None = None,
        journal: Journal | None = None,
        notify: Callable[..., None] = lambda *_: None,
        fellows: Fellows | None = None,
        read: Callable[[Path], Loaded] = load,
    ) -> None:
        """Load all plugins; nothing listens yet.

        Args:
            loaded: the configuration.
            registry: where plugins come from, if not from where they are installed and from files.
            sender: who hands messages on, in place of the SMTP client.
            journal: where attempts and messages are written, in place of `logging`.
            notify: told how it fares, in the lines of sd_notify(3); from any thread.
            fellows: the other workers of this machine, if there are any.
            read: reads the configuration again.

        Raises:
            ConfigError: a plugin, a certificate or the state file cannot be used.
        """
        self._fellows = fellows = fellows or Alone()
        if problems := (*certificate_problems(loaded), *fellows.check(loaded)):
            raise ConfigError(problems)
        self._clock = clock = MonotonicClock()
        self._ids = random.Random(secrets.token_bytes(32))  # noqa: S311 - an id is no secret
        state = StateFile(loaded.folder / loaded.settings.state)
        self._quotas = Quotas(clock, _ledger(loaded, state))
        book = DoubtBook(state)
        self._doubts = Doubts(clock, book, _known_doubts(book, clock), fellows.doubt)
        registry = registry or Registry(clock)
        self._epochs = epochs = LiveEpochs(
            loaded,
            registry,
            shared=fellows.targets(self._quotas),
            read=read,
            agree=fellows.agree,
            check=fellows.check,
            on_swap=self._take_up,
        )
        self.settings: Settings = epochs.current.settings
        """The settings that count now."""
        self._routes = epochs.current.routes
        self.user_at = epochs.current.networks.user_at
        """The user that clients from an address are without a login."""
        files = max_files()
        self._sender = SmtpSender(
            max_connections=max((files - RESERVED_FILES) // 2, 1), part=fellows.part
        )
        self._traces = Traces()
        self._control = self._controlled(loaded)
        router = Router(
            self._epochs,
            sender or self._sender,
            clock,
            chance=self._ids.random,
            journal=journal,
            doubts=self._doubts,
            traces=self._traces,
        )
        self.route = router.route
        """Deliver a message; what the client hears."""
        self.wall_clock = clock.wall
        """The present, in UTC."""
        self._logins = Logins(secrets.token_bytes(32), clock)
        self._turns = fellows.turns(clock)
        self.guard = fellows.guard(self.settings, clock, files)
        """Counts what clients do."""
        self._listeners: list[Listener] = []
        self._notify = notify
        self._watch: LoopWatch | None = None
        self._stopping = asyncio.Event()
        self._cut = asyncio.Event()
        self._reload = asyncio.Event()
        self.addresses: tuple[HostPort | UnixPath | SystemdSocket, ...] = ()
        """Where it listens, in the configuration's order, once it does."""

    async def start(self) -> None:
        """Listen; every listener that is ready is logged with its real address.

        Raises:
            OSError: an address (its `filename`) cannot be listened on; the others are closed again.
        """
        addresses = []
        for position, settings in enumerate(self.settings.listen):
            listener = Listener(self, settings, self._fellows.sockets(position), self._sender.outbox)
            try:
                address = await listener.start()
            except OSError as error:
                self._close_listeners()
                number = error.errno or 0
                reason = os.strerror(number) if number > 0 else error.strerror  # below 0: no such host
                raise OSError(number, reason or str(error), str(settings.addr)) from error
            self._listeners.append(listener)
            addresses.append(address)
            log.info("listening on %s", address)
        self.addresses = tuple(addresses)
        if self._control:
            await self._control.start()

    async def run(self) -> None:
        """Serve until `stop` is called, then drain.

        Files are looked at for changes meanwhile. Running transactions may finish within `drain_s`;
        idle sessions hear `421 4.3.2`.
        """
        self._watch = watch = LoopWatch(on_change=self._ready_or_not)
        watch.start()
        self._notify("READY=1", READY)
        try:
            async with asyncio.TaskGroup() as tasks:
                polling = tasks.create_task(self._poll())
                tasks.create_task(self._tidy())
                await self._stopping.wait()
                polling.cancel()
            await self._drain()
        finally:
            watch.stop()

    @property
    def is_ready(self) -> bool:
        """Whether mail should be sent here: it listens, does not stop, and its loop has turns.

        Any thread may ask.
        """
        watch = self._watch
        return watch is not None and watch.is_ready and not self._stopping.is_set()

    def _ready_or_not(self, is_ready: bool) -> None:  # noqa: FBT001 - a callback's only argument
        if not self._stopping.is_set():
            self._notify(READY if is_ready else "STATUS=Not ready: the event loop is held, see the log")

    def stop(self) -> None:
        """Make `run` drain and return; a second time, cut off what is still running."""
        if self._stopping.is_set():
            self._cut.set()
        self._stopping.set()

    def reload(self) -> None:
        """Have the configuration and all plugins read again; what is broken changes nothing."""
        self._reload.set()

    async def _poll(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._reload.wait()
            try:
                if self._reload.is_set():
                    self._reload.clear()
                    self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
                    try:
                        await self._epochs.reload()
                    finally:
                        self._notify("READY=1", READY)
                else:
                    await self._epochs.poll()
                await self._sender.retain(self.settings)
                for listener in self._listeners:
                    listener.refresh()
                self._sender.refresh()
            except Exception:
                log.exception("looking for changed files failed")

    async def _tidy(self) -> None:
        """See to the quotas until the router stops; nothing is cut off in the middle of it."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TIDY_S):
                    await self._stopping.wait()
            try:
                await self._quotas.tidy()
            except Exception:
                log.exception("seeing to the quotas failed")

    async def _drain(self) -> None:
        log.info("draining")
        self._notify("STOPPING=1", "STATUS=Draining")
        self._close_listeners()
        async with asyncio.TaskGroup() as tasks:
            drained = tasks.create_task(self._drained())
            cut = tasks.create_task(self._cut.wait())
            await asyncio.wait(
                {drained, cut},
                timeout=self.settings.drain_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            cut.cancel()
            finished = drained.done()
            drained.cancel()
        if not finished:
            log.warning("transactions were still running, and are cut off")
            for listener in self._listeners:
                listener.abort()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALL_S):
                    await self._drained()
        if self._control:
            await self._control.close()
        await self._epochs.close()
        await self._sender.close()
        await self._doubts.close()
        await self._quotas.close()
        self._logins.close()
        log.info("stopped")

    async def _drained(self) -> None:
        for listener in self._listeners:
            await listener.drained()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.stop()

    # What other workers say (see `smtp_router.crew`)

    @property
    def epochs(self) -> LiveEpochs:
        """Which epoch is at work."""
        return self._epochs

    def hear(self, news: News, by: int) -> None:
        """Another worker, of this number, has found something out."""
        if "rest" in news:
            hear(self._epochs.current, news["rest"], self._clock.now())
        else:
            self._doubts.hear(news["doubts"], by)

    def lost(self, by: int) -> None:
        """Another worker has died."""
        self._doubts.lost(by)

    # What the router's own commands ask (see `smtp_router.control`)

    @property
    def answers(self) -> Answers:
        """What it can be asked, and who answers."""
        return {"trace": self._told_traces, "status": self._told_status}

    def _controlled(self, loaded: Loaded) -> Control | None:
        if loaded.settings.control is None or not self._fellows.is_alone:
            return None
        return Control(loaded.folder / loaded.settings.control, self.answers)

    async def _told_traces(self, question: Question) -> object:
        found = self._traces.find(str(question.get("id", "")))
        return [trace.told() for trace in found]

    async def _told_status(self, question: Question) -> object:
        user = question.get("user")
        told = await status(self._epochs.current, self._clock, user if isinstance(user, str) else None)
        return {"ready": self.is_ready, **told}

    def _take_up(self, epoch: Epoch) -> None:
        """Another epoch is at work: what sessions ask for with each message is at hand."""
        self.settings, self._routes = epoch.settings, epoch.routes
        self.user_at = epoch.networks.user_at
        self.guard.follow(epoch.settings)

    # What sessions need (see `smtp_router.smtp.site.Site`)

    def mail_refusal(self, user: str, mail_from: str) -> Reply | None:
        """Why this user may not send this message now; `None` if it may, and then it counts."""
        route = self._routes.get(user)
        if route is None:
            return UNKNOWN_USER
        found = route.user
        if found.senders and not may_send_as(found, mail_from):
            return SENDER
        return None if self._turns.take(user, found.rate) else TOO_OFTEN

    def max_sessions(self, user: str) -> int | None:
        """How many sessions this user may have at the same time."""
        route = self._routes.get(user)
        return route.user.max_connections if route else None

    def known(self, response: bytes) -> str | None:
        """The login that this response to AUTH PLAIN (in base64) is right for, if that is remembered."""
        return self._logins.known(self._epochs.current, response)

    async def authenticate(self, login: str, password: str) -> bool:
        """Whether this login has this password."""
        return await self._logins.check(self._epochs.current, login, password)

    async def scram_verifier(self, login: str) -> Verifier:
        """What SCRAM needs for a login, known or not."""
        return await self._logins.scram_verifier(self._epochs.current, login)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that the stored passwords can answer."""
        return mechanisms_for(self._epochs.current.password_kinds)

    def gone(self, message: Message, unheard: Reply | None = None) -> None:
        """The client of a message has gone: while it is being routed, or before it heard this reply."""
        if not self.settings.duplicate_damping:
            return
        if unheard is None:
            self._doubts.left(message)
        elif unheard.is_positive:
            self._doubts.unheard(message, for_s=self.settings.in_doubt_s)

    def new_id(self) -> str:
        """20 characters that no other message has."""
        return self._ids.getrandbits(80).to_bytes(10, "big").hex()


def _ledger(loaded: Loaded, state: StateFile) -> Ledger:
    """Where quotas are kept; the file is opened now if there are any, else when a reload brings some.

    Raises:
        ConfigError: it cannot be used.
    """
    ledger = Ledger(state)
    if loaded.settings.quotas:
        try:
            ledger.open()
        except StateError as error:
            raise ConfigError(loaded.problems([(("state",), str(error))])) from error
    return ledger


def _known_doubts(book: DoubtBook, clock: Clock) -> list[Doubt]:
    """What is in doubt from earlier; without a file that can be used, nothing is."""
    try:
        return book.load(clock.wall().timestamp())
    except StateError as error:
        fields = {"problem": str(error)}
        log.error(  # noqa: TRY400 - the disk's doing, not ours
            "state file cannot be used, what is in doubt is kept in memory", extra={"fields": fields}
        )
        return []
