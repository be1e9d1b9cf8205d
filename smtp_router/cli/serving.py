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

        alone = serve_alone(loaded, journal)
        del loaded  # of which a reload leaves nothing
        run(alone)
    else:
        from smtp_router.cli.crew import plan_of, serve_as_crew  # noqa: PLC0415 - other one imports

        plan = plan_of(loaded, workers)
        loaded = loaded.without_users()
        serve_as_crew(loaded, plan, log_format, log_level)
