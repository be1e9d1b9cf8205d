"""A router under load, two downstreams, and the ledgers that have to agree in the end."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from smtp_router.testing import ScriptedDownstream
from tests.crowd import BODY, Crowd, CrowdThread
from tests.ledgers import Ledgers
from tests.running import Config, Router, Serve, config, user

NEVER: Final = 500
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
        assert not self.crowd.errors, self.crowd.errors
        assert ledgers.codes[250] > 0
        heard = self.crowd.refusals.keys() | ledgers.codes.keys()
        assert not any(code and code >= NEVER for code in heard), heard
        return ledgers


@contextmanager
def load(
    router: Router | Serve,
    *downstreams: ScriptedDownstream,
    clients: int = 8,
    forgives: bool = False,
    body: bytes = BODY,
) -> Iterator[Load]:
    """Load on a router, which ends with the block; the first downstream has to get a share of it."""
    crowd = Crowd(lambda: router.port, Ledgers(), clients=clients, forgives=forgives, body=body)
    with CrowdThread(crowd):
        under = Load(crowd, *downstreams)
        under.flows()
        yield under


def rounds(
    folder: Path,
    times: int,
    end: Callable[[Serve, Crowd], int],
    *,
    clients: int = 8,
    body: bytes = BODY,
) -> tuple[Crowd, list[int]]:
    """Start a router under load, have it end somehow, and so on; the last one finds all in order.

    Args:
        folder: for the configuration.
        times: how often it ends.
        end: ends a router under load; its exit code.
        clients: how many send.
        body: of their messages.

    Returns:
        The crowd, whose ledgers are complete, and the exit codes.
    """
    port = [0]
    crowd = Crowd(lambda: port[0], Ledgers(), clients=clients, forgives=True, body=body)
    codes = []
    with ExitStack() as stack:
        a = stack.enter_context(ScriptedDownstream(name="a"))
        b = stack.enter_context(ScriptedDownstream(name="b"))
        with CrowdThread(crowd):
            for _ in range(times):
                with Serve(evenly(a, b), folder) as router:
                    port[0] = router.port
                    codes.append(end(router, crowd))
                crowd.ledgers.logs(router.log.entries)
            router = stack.enter_context(Serve(evenly(a, b), folder))
            port[0] = router.port
        crowd.ledgers.logs(router.log.entries)
        crowd.ledgers.takes(a.messages + b.messages)
    return crowd, codes


def signals(number: signal.Signals, seed: int = 0) -> Callable[[Serve, Crowd], int]:
    """Sends a router this signal at a random moment."""
    chance = random.Random(seed)  # noqa: S311 - moments

    def end(router: Serve, _: Crowd) -> int:
        router.log.wait("message")
        time.sleep(chance.uniform(*KILL_AFTER_S))  # the moment is what is random
        router.signal(number)
        return router.ended()

    return end
