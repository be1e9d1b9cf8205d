"""Floor 5: the commands. The only click import."""

import click

from smtp_router.cli.check import check
from smtp_router.cli.demo import demo
from smtp_router.cli.explain import explain
from smtp_router.cli.hash_password import hash_password
from smtp_router.cli.new_plugin import new_plugin
from smtp_router.cli.plugins import plugins
from smtp_router.cli.schema import schema
from smtp_router.cli.serve import serve
from smtp_router.cli.simulate import simulate
from smtp_router.cli.status import status
from smtp_router.cli.trace import trace


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="smtp-router", message="smtp-router %(version)s")
def main() -> None:
    """A programmable SMTP router: a plugin decides, for every message, which server gets it."""


for command in (
    serve,
    check,
    plugins,
    new_plugin,
    explain,
    trace,
    status,
    simulate,
    demo,
    schema,
    hash_password,
):
    main.add_command(command)
