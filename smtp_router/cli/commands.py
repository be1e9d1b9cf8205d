"""All commands."""

import importlib

import click

_COMMANDS = frozenset(
    {
        "check",
        "demo",
        "explain",
        "hash-password",
        "new-plugin",
        "plugins",
        "schema",
        "serve",
        "simulate",
        "status",
        "trace",
    }
)
"""Each is a function of its own name, in a module of its own name."""


class _Commands(click.Group):
    """Imports a command when it is asked for: all of them together take half a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"smtp_router.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="smtp-router", message="smtp-router %(version)s")
def commands() -> None:
    """A programmable SMTP router: a plugin decides, for every message, which server gets it."""
