"""`smtp-router plugins`."""

import dataclasses
import json

import click

from smtp_router.hooks.installed import Installed, InstalledPlugins


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def plugins(*, as_json: bool) -> None:
    """List the algorithms and plugins that are installed, with what they are and where there is more."""
    found = list(InstalledPlugins().listed())
    if as_json:
        click.echo(json.dumps([_entry(plugin) for plugin in found], indent=2))
        return
    if not found:
        click.echo("No plugins are installed; try: pip install smtp-router-round-robin")
    for plugin in found:
        what = ", ".join(plugin.hooks) if not plugin.error else f"broken: {plugin.error}"
        click.echo(f"{plugin.name:20} {plugin.distribution} {plugin.version}  {what}")
        for more in filter(None, (plugin.summary, plugin.homepage)):
            click.echo(f"{'':20} {more}")


def _entry(plugin: Installed) -> dict[str, object]:
    entry = dataclasses.asdict(plugin)
    if not plugin.error:
        del entry["error"]
    return entry
