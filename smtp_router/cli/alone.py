"""A router that is one process."""

import asyncio
import gc
import signal
import sys

import click

from smtp_router.cli.common import fail
from smtp_router.cli.systemd import Notifier
from smtp_router.config.aside import load_aside
from smtp_router.config.load import Loaded
from smtp_router.core.errors import ConfigError
from smtp_router.routing.journal import Journal
from smtp_router.service import Service


async def serve_alone(loaded: Loaded, journal: Journal) -> None:
    """Run it until it has drained."""
    notifier = Notifier()
    try:
        service = Service(loaded, journal=journal, notify=notifier.tell, read=load_aside)
    except ConfigError as error:
        fail(error)
    del loaded
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    try:
        await service.start()
    except OSError as error:
        click.echo(f"cannot listen on {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
    # What is there now stays: each pass of the garbage collector over it would hold the mail up.
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)
    pinging = loop.create_task(notifier.ping())
    try:
        await service.run()
    finally:
        pinging.cancel()
        notifier.close()
