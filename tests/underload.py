"""A router under load, two downstreams, and the ledgers that have to agree in the end."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from smtp_router.testing import ScriptedDownstream
from tests.crowd import Crowd, CrowdThread
from tests.ledgers import Ledgers
from tests.running import Config, Router, Serve, config, user

KILL_AFTER_S: Final = (0.05, 0.35)
"""How long a router that is about to be killed has worked, at least and at most."""


def entry(downstream: ScriptedDownstream, **more: object) -> Config:
    """A scripted downstream as the configuration has it."""
    return {"addr": downstream.addr, "name": downstream.name} | more


def evenly(*downstreams: ScriptedDownstream, **more: object) -> Config:
    """A configuration whose user sends to all of these in turn; what is `more` is the user's."""
    return config(user(*map(entry, downstreams), algorithm="round_robin", **more))


class Load:
    """A crowd that sends, and what became of it all."""

    def __init__(self, crowd: Crowd, *downstreams: ScriptedDownstream) -> None:
        self.crowd, self.downstreams = crowd, downstreams

    def flows(self, more: int = 40, seconds: float = 20) -> None:
        """Wait until so many more messages were delivered."""
        first, *_ = self.downstreams
        goal = self._delivered() + more
        first.wait_for(lambda: self._delivered() >= goal, seconds)

    def _delivered(self) -> int:
        return sum(len(downstream.delivered) for downstream in self.downstreams)

    def check(self, *logs: Router | Serve) -> Ledgers:
        """Compare the ledgers; to be called when all is quiet."""
        ledgers = self.crowd.ledgers
        for downstream in self.downstreams:
            ledgers.takes(downstream.messages)
        for router in logs:
            ledgers.logs(router.log.entries)
        assert ledgers.violations() == []
        assert self.crowd.errors == []
        assert ledgers.codes[250] > 0
        assert not any(code and code >= 500 for code in ledgers.codes), ledgers.codes
        return ledgers


@contextmanager
def load(
    router: Router | Serve, *downstreams: ScriptedDownstream, clients: int = 8, forgives: bool = False
) -> Iterator[Load]:
    """Load on a router, which ends with the block; the first downstream has to get a share of it."""
    crowd = Crowd(lambda: router.port, Ledgers(), clients=clients, forgives=forgives)
    with CrowdThread(crowd):
        under = Load(crowd, *downstreams)
        under.flows()
        yield under


def rounds(
    folder: Path, number: signal.Signals, times: int, *, clients: int = 8, seed: int = 0
) -> tuple[Crowd, list[int]]:
    """Send a router this signal at a random moment under load, start it again, and so on.

    Returns:
        The crowd, whose ledgers are complete, and the exit codes.
    """
    chance = random.Random(seed)  # noqa: S311 - moments
    port = [0]
    crowd = Crowd(lambda: port[0], Ledgers(), clients=clients, forgives=True)
    codes = []
    with ExitStack() as stack:
        a = stack.enter_context(ScriptedDownstream(name="a"))
        b = stack.enter_context(ScriptedDownstream(name="b"))

        def started(router: Serve) -> None:
            port[0] = router.port
            before = len(a.messages)
            a.wait_for(lambda: len(a.messages) > before)

        with CrowdThread(crowd):
            for _ in range(times):
                with Serve(evenly(a, b), folder) as router:
                    started(router)
                    time.sleep(chance.uniform(*KILL_AFTER_S))  # the moment is what is random
                    router.signal(number)
                    codes.append(router.ended())
                crowd.ledgers.logs(router.log.entries)
            router = stack.enter_context(Serve(evenly(a, b), folder))
            started(router)
        crowd.ledgers.logs(router.log.entries)
        crowd.ledgers.takes(a.messages + b.messages)
    return crowd, codes
