"""`smtp-router serve`."""

import gc
import importlib
from contextlib import suppress
from pathlib import Path

import click

from smtp_router.cli.options import config_option
from smtp_router.cli.words import FORMATS, LEVELS
from smtp_router.config.aside import Reading


@click.command()
@config_option
@click.option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def serve(config: Path, log_format: str, log_level: str) -> None:
    """Run the router in the foreground.

    SIGTERM and SIGINT drain it (a second one cuts off what still runs), SIGHUP reloads.
    """
    gc.disable()  # until all is there: hardly any of it goes, and looking took a third of a start
    try:
        reading = Reading(config)
        # Meanwhile this process imports the router, which takes as long.
        if not _may_be_crew(config):
            importlib.import_module("smtp_router.cli.alone")
        from smtp_router.cli import serving  # noqa: PLC0415 - see above

        serving.serve(reading, config, log_format, log_level)
    finally:
        gc.enable()


def _may_be_crew(config: Path) -> bool:
    """A guess, before it is read: the parent of a crew needs next to nothing of a router."""
    with suppress(OSError):
        return b"workers" in config.read_bytes()
    return False
