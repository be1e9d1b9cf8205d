"""What several commands share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from smtp_router.config.load import Loaded, load
from smtp_router.control.client import NoAnswerError, ask
from smtp_router.core.errors import ConfigError
from smtp_router.disk import UntrustedFileError, check_trusted


def load_or_exit(config: Path, read: Callable[[], Loaded] | None = None) -> Loaded:
    """The checked configuration; every problem goes to stderr, and the program ends with 2.

    Args:
        config: its file.
        read: reads it, in place of this process.
    """
    try:
        loaded = read() if read else load(config)
    except ConfigError as error:
        fail(error)
    warn_if_untrusted(config)
    return loaded


def warn_if_untrusted(config: Path) -> None:
    """Say so when others may write the configuration: whoever can, decides where mail goes."""
    try:
        check_trusted(config, config.stat())
    except (UntrustedFileError, OSError) as error:
        click.echo(f"warning: {error}", err=True)


def fail(error: ConfigError) -> NoReturn:
    """Print every problem, and end the program with 2."""
    for problem in error.problems:
        click.echo(str(problem), err=True)
    count = len(error.problems)
    click.echo(f"{count} problem{'s' if count > 1 else ''} found.", err=True)
    sys.exit(2)


def control_of(loaded: Loaded) -> Path:
    """The control socket of a router that runs with this configuration; without one, the end with 2."""
    if loaded.settings.control is None:
        click.echo("the configuration says control: null, so no router can be asked", err=True)
        sys.exit(2)
    return loaded.folder / loaded.settings.control


def asked(loaded: Loaded, what: str, **more: object) -> Any:  # noqa: ANN401 - as JSON has it
    """What the router that is running says; if none does, the end with 2."""
    try:
        return ask(control_of(loaded), what, **more)
    except NoAnswerError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
