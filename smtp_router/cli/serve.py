"""`smtp-router serve`."""

import asyncio
import gc
import signal
import sys
from pathlib import Path

import click

from smtp_router.cli import logs
from smtp_router.cli.common import config_option, fail, load_or_exit, run
from smtp_router.cli.systemd import Notifier
from smtp_router.config.load import Loaded
from smtp_router.core.errors import ConfigError
from smtp_router.routing.journal import Journal
from smtp_router.service import Service


@click.command()
@config_option
@click.option("--log-format", type=click.Choice(logs.FORMATS), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)
def serve(config: Path, log_format: str, log_level: str) -> None:
    """Run the router in the foreground.

    SIGTERM and SIGINT drain it (a second one cuts off what still runs), SIGHUP reloads.
    """
    gc.disable()  # until all is there: hardly any of it goes, and looking took a third of a start
    try:
        journal = logs.configure(log_format, log_level)
        loaded = load_or_exit(config)
        run(lambda: _serve(loaded, journal))
    finally:
        gc.enable()


async def _serve(loaded: Loaded, journal: Journal) -> None:
    notifier = Notifier()
    try:
        service = Service(loaded, journal=journal, notify=notifier.tell)
    except ConfigError as error:
        fail(error)
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
