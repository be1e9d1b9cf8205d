"""`smtp-router schema`."""

import json

import click

from smtp_router.config.schema import json_schema


@click.command()
def schema() -> None:
    """Print the configuration's JSON Schema, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
