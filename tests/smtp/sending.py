"""A sender, and how tests use it; `tests/smtp/conftest.py` has it as a fixture."""

import asyncio
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from smtp_router import Message, Outcome
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings, Timeouts
from smtp_router.smtp.handover import Handover, Terms
from smtp_router.smtp.parameters import Peer
from smtp_router.smtp.sender import SmtpSender
from smtp_router.smtp.verdict import verdict
from tests.running import Config, downstream, one_user
from tests.script import NORMAL, Step
from tests.support import make_message
from tests.witness import Witness

TERMS = Terms(verdict, Timeouts())
LOGIN = ("router", "s3cret-word")
LOCALHOST = "localhost"
BIG = make_message(content=b"Subject: big\r\n\r\n" + 1_000_000 * b"0123456789 abcdefg\r\n")
"""More than all buffers between the two ends take."""
ONCE: Mapping[str, object] = MappingProxyType({"pool": {"max_messages_per_connection": 1}})
"""For a downstream whose connections are not kept."""
NOTHING: Mapping[str, object] = MappingProxyType({})


def pool(**limits: float) -> Mapping[str, object]:
    """For a downstream with these limits."""
    return {"pool": limits}


def handover(
    recipients: Sequence[str] = ("a@b.example",),
    content: bytes | Sequence[bytes] = b"",
    on_final: Callable[[], None] = lambda: None,
    *,
    pipelining: bool = True,
    lmtp: bool = False,
    timeouts: Timeouts | None = None,
    until: float = math.inf,
    deadline: float = math.inf,
) -> Handover:
    """A handover that says MAIL and RCPT, and no more about them."""
    return Handover(
        "MAIL\r\n" + len(recipients) * "RCPT\r\n",
        recipients,
        content,
        Peer(extensions=frozenset({"pipelining"} if pipelining else ()), is_lmtp=lmtp),
        Terms(verdict, timeouts) if timeouts else TERMS,
        until,
        deadline,
        on_final,
    )


@dataclass
class Sending:
    """A sender, and how it is used."""

    sender: SmtpSender
    ca: Path
    timeouts: dict[str, float] = field(default_factory=dict)

    async def to(
        self,
        witness: Witness,
        message: Message | None = None,
        *,
        seconds: float = 10,
        deadline_s: float = 10,
        more: Mapping[str, object] = NOTHING,
    ) -> Outcome:
        """Send a message to a witness; `more` goes into the downstream's configuration."""
        settings = self.settings(witness, more)
        now = asyncio.get_running_loop().time()
        return await self.sender.send(
            message or make_message(),
            settings.users[0].downstreams[0],
            settings,
            until=now + seconds,
            deadline=now + deadline_s,
        )

    def settings(self, witness: Witness, more: Mapping[str, object] = NOTHING) -> Settings:
        """A configuration with this witness as the only downstream."""
        entry: Config = {"tls": "auto" if witness.tls else "none", "tls_ca": str(self.ca)}
        if witness.tls:
            entry["addr"] = f"{LOCALHOST}:{witness.port}"
        if witness.implicit_tls:
            entry["tls"] = "implicit"
        configuration = one_user(downstream(witness, **entry | dict(more)), timeouts=self.timeouts)
        return parse(json.dumps(configuration).encode(), Path("config.yaml")).settings


async def until(witness: Witness, predicate: Callable[[], object]) -> None:
    """Wait for something at the witness while the event loop goes on."""
    await asyncio.to_thread(witness.wait_for, predicate)


class Gate:
    """A step that waits until it is opened."""

    def __init__(self, then: Step = NORMAL) -> None:
        self.reached = threading.Semaphore(0)
        self._open = threading.Event()
        self._then = then

    def __call__(self, _: bytes) -> Step:
        self.reached.release()
        self._open.wait(5)
        return self._then

    async def waits(self) -> None:
        """Wait until somebody waits at it."""
        assert await asyncio.to_thread(self.reached.acquire, timeout=5)

    def open(self) -> None:
        self._open.set()
