"""A router, of one process or of several."""

from pathlib import Path

from smtp_router.cli import logs
from smtp_router.cli.common import load_or_exit
from smtp_router.cli.loop import run
from smtp_router.config.aside import Reading
from smtp_router.config.crew_size import crew_size
from smtp_router.machine import cores


def serve(reading: Reading, config: Path, log_format: str, log_level: str) -> None:
    """Run what is being read until it has drained."""
    journal = logs.configure(log_format, log_level)
    loaded = load_or_exit(config, reading.result)
    workers = crew_size(loaded, cores())
    if workers == 1:
        from smtp_router.cli.alone import serve_alone  # noqa: PLC0415 - neither needs what the

        run(lambda: serve_alone(loaded, journal))
    else:
        from smtp_router.cli.crew import serve_as_crew  # noqa: PLC0415 - other one imports

        serve_as_crew(loaded, workers, log_format, log_level)
