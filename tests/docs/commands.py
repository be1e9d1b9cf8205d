"""The program's commands."""

from collections.abc import Mapping

import click

from smtp_router.cli.commands import commands as program


def commands() -> Mapping[str, click.Command]:
    """All of them, by name."""
    context = click.Context(program)
    found = {name: program.get_command(context, name) for name in program.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}
