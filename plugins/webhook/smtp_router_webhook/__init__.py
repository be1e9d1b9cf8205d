"""Tells a webhook what became of each attempt: signed, in batches, tried again, and never in mail's way.

Rules:
1. A hook only puts an event into a queue. One task per instance empties it, and ends then.
2. Order is kept: one request at a time, and what cannot be delivered yet holds up what follows it.
3. The queue is bounded. What has no room is counted and logged; what is in it is told at least once,
   unless the other side refuses it for good, or for too long, or the router stops.
"""

import asyncio
import contextvars
import logging
import random

from smtp_router import Attempt, Clock, Message, hookimpl
from smtp_router_webhook import _options
from smtp_router_webhook._endpoint import Endpoint, Verdict
from smtp_router_webhook._events import event, payload
from smtp_router_webhook._losses import Losses
from smtp_router_webhook._queue import Queue
from smtp_router_webhook._signature import Signer

__all__ = ["Webhook"]

_log = logging.getLogger(__name__)

_BATCH_OCTETS = 256 * 1024
"""What a request holds at most; most receivers take a megabyte."""

_MAX_RETRY_AFTER_S = 3600.0


class Webhook:
    """Posts events to a URL; the router makes one instance per user.

    Args:
        url: where to; `https`, or `http` on this machine.
        secret: as `whsec_…`, or a list of them while they are being changed.
        events: of which outcomes: `delivered`, `deferred`, `rejected`, `in_doubt`; none: of all.
        batch: how many events a request holds at most.
        batch_s: how long an event waits for others, in seconds.
        timeout_s: how long a request may take, in seconds.
        retries: how often it is tried again.
        backoff_s: how long before the first of these, in seconds; twice as long before each further one.
        max_backoff_s: how long at most, in seconds.
        max_queue_bytes: how much may wait, in octets.
        allow_http: whether `http` may go to another machine.
        ca_file: an absolute path to the authorities to trust; none: the system's.
        clock: what tells the time.
        rng: what spreads retries.

    Raises:
        ValueError: an option is not valid; the text names it, and holds no secret.
    """

    def __init__(
        self,
        url: str,
        secret: str | list[str],
        *,
        clock: Clock,
        rng: random.Random,
        events: list[str] | None = None,
        batch: int = 100,
        batch_s: float = 1.0,
        timeout_s: float = 10.0,
        retries: int = 20,
        backoff_s: float = 1.0,
        max_backoff_s: float = 300.0,
        max_queue_bytes: int = 8 * 1024 * 1024,
        allow_http: bool = False,
        ca_file: str | None = None,
    ) -> None:
        target = _options.url(url, allow_http=_options.truth("allow_http", allow_http))
        self._signer = Signer(secret)
        self._kinds = _options.events(events)
        self._batch = _options.whole("batch", batch, 1, 10_000)
        self._batch_s = _options.number("batch_s", batch_s, 0, 3600)
        self._retries = _options.whole("retries", retries, 0, 1000)
        self._backoff_s = _options.number("backoff_s", backoff_s, 0.1, 3600)
        self._max_backoff_s = _options.number("max_backoff_s", max_backoff_s, self._backoff_s, 86_400)
        octets = _options.whole("max_queue_bytes", max_queue_bytes, 64 * 1024, 1024**3)
        timeout_s = _options.number("timeout_s", timeout_s, 0.1, 600)
        self._endpoint = Endpoint(target, timeout_s, _options.tls(ca_file))
        self._queue = Queue(octets)
        self._losses = Losses(clock, self._endpoint.origin)
        self._clock = clock
        self._rng = rng
        self._worker: asyncio.Task[None] | None = None
        self._pause: asyncio.Task[None] | None = None
        self._gathering = False
        self._closing = False
        # Both log the whole URL; see the rules of `_endpoint`.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def __repr__(self) -> str:
        """Where to, without the path."""
        return f"<Webhook {self._endpoint.origin}>"

    @hookimpl
    def after_send(self, message: Message, attempt: Attempt) -> None:
        """Put the attempt into the queue, and see that somebody empties it."""
        if attempt.outcome.kind not in self._kinds:
            return
        if not self._queue.put(event(message, attempt, self._clock.wall())):
            self._losses.add(1, "the queue is full")
        elif self._worker is None:
            # In a context of its own: this message's is not that of the messages to come.
            self._worker = asyncio.get_running_loop().create_task(
                self._work(), name="webhook", context=contextvars.Context()
            )
        elif self._gathering and len(self._queue) >= self._batch:
            self._hurry()

    @hookimpl
    async def close(self) -> None:
        """Tell what is left: no more waiting, and no more retries."""
        self._closing = True
        self._hurry()
        try:
            if self._worker is not None:
                await self._worker  # which is cancelled when this takes too long
        finally:
            self._losses.add(len(self._queue), "the router stops")
            self._losses.tell()
            await self._endpoint.close()

    async def _work(self) -> None:
        try:
            while self._queue:
                if len(self._queue) < self._batch and not self._closing:
                    self._gathering = True
                    await self._wait(self._batch_s)
                    self._gathering = False
                if (
                    not await self._deliver(self._queue.take(self._batch, _BATCH_OCTETS))
                    and self._closing
                ):
                    return
        finally:
            self._worker = None

    async def _deliver(self, events: list[bytes]) -> bool:
        """Tell these, however often it takes; whether they were taken."""
        body = payload(events, self._clock.wall())
        ident = f"msg_{self._rng.getrandbits(128):032x}"
        why = "the router stops"
        try:
            for retry in range(self._retries + 1):
                now = self._clock.wall()
                fields = self._signer.fields(ident, int(now.timestamp()), body)
                answer = await self._endpoint.post(body, fields, now)
                if answer.verdict is Verdict.TAKEN:
                    events = []
                    return True
                why = answer.why
                _log_failure(self._endpoint.origin, ident, why)
                if answer.verdict is Verdict.NEVER or self._closing or retry == self._retries:
                    break
                await self._wait(self._backoff(retry, answer.after_s))
        finally:
            self._losses.add(len(events), why)
        return False

    def _backoff(self, retry: int, after_s: float) -> float:
        """How long to wait before the next try, in seconds; a random part of it spreads many routers."""
        most = min(self._backoff_s * 2.0**retry, self._max_backoff_s)
        return max(self._rng.uniform(most / 2, most), min(after_s, _MAX_RETRY_AFTER_S))

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until somebody is in a hurry."""
        self._pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((self._pause,))
        finally:
            self._hurry()

    def _hurry(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None


def _log_failure(origin: str, ident: str, why: str) -> None:
    _log.warning("webhook failed", extra={"fields": {"url": origin, "webhook": ident, "why": why}})
