"""The plugin webhook, made for a test: what it is told, and what of it arrives."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Attempt, Deferred, Delivered, Downstream, InDoubt, Message, Rejected, Reply
from smtp_router_webhook import Webhook
from tests.receiver import Taken

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
README = (Path(__file__).parents[1] / "plugins/webhook/README.md").read_text("utf-8")
MAIN = Downstream(name="main", host="127.0.0.1", port=25)
TAKEN = Delivered(reply=Reply(code=250, enhanced="2.0.0", text="queued"))


class VirtualClock:
    """Time that passes at once when somebody sleeps; or, stopped, when a test says so."""

    def __init__(self, *, stopped: bool = False) -> None:
        self.slept: list[float] = []
        self.passed = 0.0
        self._asked = asyncio.Event()
        self._going = asyncio.Event()
        if not stopped:
            self._going.set()

    def now(self) -> float:
        return self.passed

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asked.set()
        await self._going.wait()
        self.passed += seconds

    async def asked(self, times: int) -> None:
        """Wait until somebody has begun to sleep, for this time."""
        while len(self.slept) < times:
            self._asked.clear()
            await self._asked.wait()


def message(number: int = 1, **more: Any) -> Message:  # noqa: ANN401 - fields of a message
    fields = {"mail_from": "a@a.example", "rcpt_tos": ("b@b.example", "c@c.example"), **more}
    return Message(
        id=str(number), user="app", content=b"Subject: private\r\n\r\nx\r\n", received_at=START, **fields
    )


def attempt(outcome: Delivered | Deferred | Rejected | InDoubt = TAKEN) -> Attempt:
    return Attempt(downstream=MAIN, outcome=outcome, seconds=0.12345)


Make = Callable[..., Webhook]


async def making() -> AsyncIterator[Make]:
    """Makes plugins, and closes them at the end of the test: `make = pytest.fixture(making)`."""
    made: list[Webhook] = []

    def make(url: object, clock: VirtualClock | None = None, **options: Any) -> Webhook:  # noqa: ANN401
        rng = random.Random(1)  # noqa: S311 - spreads retries
        given = {"url": url, "secret": SECRET, "rng": rng, **options}
        made.append(Webhook(clock=clock or VirtualClock(), **given))
        return made[-1]

    yield make
    for plugin in made:
        await plugin.close()


async def tell(plugin: Webhook, *numbers: int) -> None:
    """Events, one after the other; then wait until all are told or given up."""
    for number in numbers:
        plugin.after_send(message(number), attempt())
    await told()


async def told() -> None:
    while workers := [task for task in asyncio.all_tasks() if task.get_name() == "webhook"]:
        await asyncio.wait(workers)


def ids(request: Taken) -> list[int]:
    return [int(event["id"]) for event in json.loads(request.body)["data"]]


def verifies(request: Taken, key: bytes = KEY) -> bool:
    """By the letter of the specification, in other words than the plugin's."""
    text = (
        f"{request.fields['webhook-id']}.{request.fields['webhook-timestamp']}.{request.body.decode()}"
    )
    wanted = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in request.fields["webhook-signature"].split(" ")


def losses(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    records = [record for record in caplog.records if record.message == "webhook lost events"]
    fields: list[dict[str, Any]] = [vars(record)["fields"] for record in records]
    return [(one["events"], one["why"]) for one in fields]


def block(language: str) -> str:
    """The first one in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]  # type: ignore[no-any-return]
