"""The router that is measured, as a process of its own: the real service, whole or with a null sender.

    python -m bench.edge_process CONFIG [--whole | --edge-alone] [--watch] [--trace] [--count]

The log goes to stderr, as that of `smtp-router serve` does, and the event loop is the same.
"""

import argparse
import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from bench.asked import Watch, answer_on_stdin
from bench.steps import Steps
from smtp_router.cli import logs
from smtp_router.cli.loop import run
from smtp_router.config.load import load
from smtp_router.config.settings import Downstream, Settings
from smtp_router.config.types import HostPort
from smtp_router.core.message import Message
from smtp_router.core.outcome import Delivered, Outcome
from smtp_router.core.reply import Reply
from smtp_router.routing.journal import Journal
from smtp_router.service import Service

TAKEN = Reply(code=250, enhanced="2.0.0", text="Taken")


class NullSender:
    """Takes every message at once."""

    def __init__(self) -> None:
        """What became of each is the same."""
        self._outcome = Delivered(reply=TAKEN)

    async def send(
        self,
        message: Message,
        downstream: Downstream,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None],
    ) -> Outcome:
        """Take it."""
        del message, downstream, settings, until, deadline
        on_final()
        return self._outcome


async def take(message: Message) -> Reply:
    """Answer right behind the edge: nothing is routed, and nothing logged about the message."""
    del message
    return TAKEN


async def _serve(asked: argparse.Namespace, journal: Journal) -> None:
    sender = None if asked.whole else NullSender()
    service = Service(load(asked.config), sender=sender, journal=journal)
    if asked.edge_alone:
        service.route = take
    await service.start()
    gc.collect()  # as `serve` does it
    gc.freeze()
    gc.set_threshold(10_000)
    watch = Watch(asyncio.get_running_loop()) if asked.watch else None
    ports = [address.port for address in service.addresses if isinstance(address, HostPort)]
    answer_on_stdin(ports, service.stop, watch, Steps() if asked.count else None)
    await service.run()


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--watch", action="store_true", help="time how long the event loop is held")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--whole", action="store_true", help="hand messages on, as `serve` does")
    part.add_argument("--edge-alone", action="store_true", help="route nothing")
    parser.add_argument("--count", action="store_true", help="count what Python does (very slow)")
    parser.add_argument("--trace", action="store_true", help="count what Python allocates (slow)")
    asked = parser.parse_args()
    if asked.trace:
        tracemalloc.start()
    journal = logs.configure("text", "info")
    run(_serve(asked, journal))


if __name__ == "__main__":
    main()
