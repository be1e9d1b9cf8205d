"""Every fault at every stage of a downstream, through the whole router: reply, deliveries, health.

All cells of `tests/matrix.py` are tried at once: one router, and for each cell a user of its own with
downstreams of its own. A test looks at what became of one cell.
"""

import asyncio
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import pytest
import trustme
import uvloop

from smtp_router.testing import ScriptedDownstream
from tests.certificates import accepting
from tests.matrix import CELLS, CERTIFICATES, SLOW, TLS, Cell
from tests.running import PASSWORD, Config, Router, config

A: Final = b"a@a.example"
RECIPIENTS: Final = (b"b@b.example", b"c@b.example")
LOGIN: Final = ("router", "s3cret-word")
SMALL: Final = b"hello\r\n"
BIG: Final = 800_000 * b"0123456789 abcdefg\r\n"
"""More than all buffers between the two ends take."""
AT_ONCE: Final = 32
SHORT: Final = dict.fromkeys(
    ("banner_s", "ehlo_s", "tls_s", "auth_s", "mail_s", "rcpt_s", "data_s", "final_s"), 1.5
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What became of a cell."""

    reply: tuple[int, str]
    delivered: tuple[int, int]
    """How often the first downstream and the second one said 250 to it."""
    connections: int
    """Of the first one."""
    rests: tuple[str, ...]
    """Whose health it counted against, where a single failure is enough for a rest."""
    again: int
    """The reply to the next message, when the fault is over."""


Seen: TypeAlias = dict[Cell, Observed]


class Certificates:
    """What downstreams show."""

    def __init__(self) -> None:
        ca = trustme.CA()
        self.authority = ca.cert_pem
        day = timedelta(days=1)
        self._of = {
            "expired": _showing(ca.issue_cert("localhost", not_after=datetime.now(UTC) - day)),
            "other": accepting(ca, "other.example"),
            "unknown": accepting(trustme.CA()),
        }
        self._good = accepting(ca)

    def of(self, cell: Cell) -> ssl.SSLContext | None:
        """What the first downstream of this cell shows, if it does TLS."""
        if cell.stage not in TLS:
            return None
        return self._of[cell.fault] if cell.fault in CERTIFICATES else self._good


def _showing(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@dataclass(frozen=True, slots=True)
class Trial:
    """A cell with its downstreams and its user."""

    number: int
    cell: Cell
    first: ScriptedDownstream
    second: ScriptedDownstream | None

    @property
    def email(self) -> str:
        return f"user{self.number}@app.example"

    def user(self) -> Config:
        keeps = self.cell.stage != "quit"
        first: Config = {
            "name": f"first{self.number}",
            "addr": self.first.addr,
            "user": LOGIN[0],
            "pass": LOGIN[1],
            "pool": {"max_messages_per_connection": 100 if keeps else 1},
        }
        if self.cell.stage in TLS:
            at = f"localhost:{self.first.port}"
            first |= {"addr": at, "tls": "starttls", "tls_ca": "./ca.pem"}
        others = [{"name": "second", "addr": self.second.addr}] if self.second else []
        return {
            "email": self.email,
            "password": PASSWORD,
            "algorithm": "failover",
            "downstreams": [first, *others],
        }

    def run(self, router: Router) -> Observed:
        """Send what this cell is about, and a message more when the fault is over."""
        subject = b"Subject: %d\r\n\r\n" % self.number
        content = subject + (BIG if self.cell.stage == "content" else SMALL)
        with router.client(self.email, timeout=20) as client:
            if self.cell.kept:
                assert client.transaction(A, RECIPIENTS, b"Subject: before\r\n\r\n").code == 250
            reply = client.transaction(A, RECIPIENTS, content)
            connections = self.first.connections
            rests = router.log.find("downstream rests", downstream=f"first{self.number}")
            self.first.follow({})
            again = client.transaction(A, RECIPIENTS, b"Subject: again\r\n\r\n")
        return Observed(
            reply=(reply.code, reply.enhanced),
            delivered=(_count(self.first, subject), _count(self.second, subject)),
            connections=connections,
            rests=tuple(entry["whose"] for entry in rests),
            again=again.code,
        )


def _count(downstream: ScriptedDownstream | None, subject: bytes) -> int:
    taken = downstream.delivered if downstream else ()
    return sum(one.below_received.startswith(subject) for one in taken)


async def observe(cells: Sequence[Cell], folder: Path, **more: object) -> Seen:
    """Try these cells, many at once."""
    certificates = Certificates()
    certificates.authority.write_to_path(folder / "ca.pem")
    async with AsyncExitStack() as stack:
        run = stack.enter_async_context
        trials = [
            Trial(
                number,
                cell,
                await run(ScriptedDownstream(cell.scripts, login=LOGIN, tls=certificates.of(cell))),
                await run(ScriptedDownstream()) if cell.second else None,
            )
            for number, cell in enumerate(cells)
        ]
        settings = config(*(trial.user() for trial in trials), health={"failures": 1}, **more)
        with (
            Router(settings, folder, loop_factory=uvloop.new_event_loop) as router,
            ThreadPoolExecutor(AT_ONCE) as executor,
        ):
            loop = asyncio.get_running_loop()
            memory = asyncio.Semaphore(4)

            async def run_one(trial: Trial) -> Observed:
                if trial.cell.stage != "content":
                    return await loop.run_in_executor(executor, trial.run, router)
                async with memory:
                    return await loop.run_in_executor(executor, trial.run, router)

            seen = await asyncio.gather(*map(run_one, trials))
    return dict(zip((trial.cell for trial in trials), seen, strict=True))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    cells = [cell for cell in CELLS if cell.fault not in SLOW]
    return asyncio.run(observe(cells, tmp_path_factory.mktemp("quick")))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    cells = [cell for cell in CELLS if cell.fault in SLOW]
    folder = tmp_path_factory.mktemp("slow")
    return asyncio.run(observe(cells, folder, timeouts=SHORT, deadline_s=6))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault_has_the_consequences_that_the_table_says(
    cell: Cell, request: pytest.FixtureRequest
) -> None:
    everything: Seen = request.getfixturevalue("slow" if cell.fault in SLOW else "quick")
    seen = everything[cell]
    code, _ = cell.reply
    blamed = cell.expected.blamed
    assert seen.reply == cell.reply
    if code != 250 and cell.letter == "?":  # that is what doubt is
        assert seen.delivered in {(0, 0), (1, 0)}
    else:
        assert seen.delivered == ((code == 250) - cell.goes_on, cell.goes_on)
    assert seen.rests == ((blamed,) if blamed in {"server", "account"} else ())
    assert seen.connections == (cell.connections if cell.fault != "refuse" or cell.kept else 0)
    assert seen.again == cell.again
