"""A router that is several processes: the parent."""

import asyncio
import gc
import logging
import signal
import sys

import click

from smtp_router.cli import logs
from smtp_router.cli.common import fail
from smtp_router.cli.systemd import Notifier
from smtp_router.config.crew_size import indivisible
from smtp_router.config.load import Loaded
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.shared.memory import SharedMemory
from smtp_router.shared.together import Plan
from smtp_router.workers.parent import Parent, StartError
from smtp_router.workers.untorn import untorn


def plan_of(loaded: Loaded, workers: int) -> Plan:
    """What so many workers share; the end with 2, if there is something that they cannot."""
    if problems := indivisible(loaded, workers):
        fail(ConfigError(problems))
    # Of each user: sessions, a rate, and the limits of each downstream.
    return Plan.of(workers, sum(2 + len(user.downstreams) for user in loaded.settings.users))


def serve_as_crew(loaded: Loaded, plan: Plan, log_format: str, log_level: str) -> None:
    """Run it until all have drained."""
    memory = SharedMemory.create(plan.words)
    sys.stderr = untorn(sys.stderr.fileno(), memory)
    logs.configure(log_format, log_level)
    logging.getLogger("smtp_router.workers").setLevel(min(logging.root.level, logging.INFO))
    gc.freeze()
    gc.enable()
    asyncio.run(_serve(loaded, memory, plan, log_format, log_level))


async def _serve(
    loaded: Loaded, memory: SharedMemory, plan: Plan, log_format: str, log_level: str
) -> None:
    notifier = Notifier()
    parent = Parent(
        loaded,
        memory,
        plan,
        log_format=log_format,
        log_level=log_level,
        notify=notifier.tell,
        ping=notifier.ping,
        watchdog_s=notifier.watchdog_s,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, parent.stop)
    loop.add_signal_handler(signal.SIGINT, parent.stop)
    loop.add_signal_handler(signal.SIGHUP, parent.reload)
    try:
        await parent.run()
    except OSError as error:
        click.echo(f"cannot listen on {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
    except StartError as error:
        fail(ConfigError(Problem(message=problem) for problem in error.problems))
    finally:
        notifier.close()
