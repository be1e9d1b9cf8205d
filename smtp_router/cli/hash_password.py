"""`smtp-router hash-password`."""

import sys

import click

from smtp_router.credentials import Kind, make


@click.command("hash-password")
@click.option(
    "--scheme",
    type=click.Choice([Kind.ARGON2.value, Kind.SCRAM.value]),
    default=Kind.ARGON2.value,
    show_default=True,
    help="argon2 is the harder one to guess; scram can also answer AUTH SCRAM-SHA-256.",
)
def hash_password(scheme: str) -> None:
    """Turn a password into what stands under `password:` in the configuration.

    Asks for it, or reads one line from stdin if that is no terminal.
    """
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty")
    try:
        click.echo(make(Kind(scheme), password))
    except ValueError as error:
        raise click.UsageError(f"the password cannot be used: {error}") from None
