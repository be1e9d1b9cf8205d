"""`smtp-router serve`."""

import gc
from pathlib import Path

import click

from smtp_router.cli import logs
from smtp_router.cli.common import config_option, load_or_exit, run
from smtp_router.config.aside import Reading
from smtp_router.config.crew_size import crew_size
from smtp_router.machine import cores


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
        loaded = load_or_exit(config, Reading(config).result)
        workers = crew_size(loaded, cores())
        # The parent of a crew needs next to nothing of a router, and a router nothing of a crew.
        if workers == 1:
            from smtp_router.cli.alone import serve_alone  # noqa: PLC0415 - see above

            run(lambda: serve_alone(loaded, journal))
        else:
            from smtp_router.cli.crew import serve_as_crew  # noqa: PLC0415 - see above

            serve_as_crew(loaded, workers, log_format, log_level)
    finally:
        gc.enable()
