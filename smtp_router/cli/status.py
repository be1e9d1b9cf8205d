"""`smtp-router status`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from smtp_router.cli.common import asked, load_or_exit
from smtp_router.cli.options import config_option
from smtp_router.cli.trace import printable


@click.command()
@config_option
@click.option("--user", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path, user: str | None, *, as_json: bool) -> None:
    """Show how a running router and its downstreams fare.

    Ends with 0 if it is ready to take mail, and with 1 if not.
    """
    found = asked(load_or_exit(config), "status", **({"user": user} if user else {}))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(printable(_readable(found)))
    if not found["ready"]:
        raise click.exceptions.Exit(1)


def _readable(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'ready' if found['ready'] else 'not ready'}, epoch {found['epoch']}"
    for one in found.get("workers", ()):
        yield f"worker {one['worker']}  (pid {one['pid']})  {'ready' if one['ready'] else 'not ready'}"
    for login, user in found["users"].items():
        yield f"user {login}  (algorithm {user['algorithm']})"
        for name, one in user["downstreams"].items():
            yield f"  {name}  ({one['server']})  {_figures(one)}"
        if shadow := user["shadow"]:
            counts = f"asked {shadow['asked']}, differed {shadow['differed']}, failed {shadow['failed']}"
            yield f"  shadow {shadow['plugin']}: {counts}, left out {shadow['left_out']}"
        if canary := user["canary"]:
            yield f"  canary {canary['plugin']}: {canary['percent']:g} % of the messages"


def _figures(one: Mapping[str, Any]) -> str:
    health = one["health"]
    counts = (
        f"{health['delivered']} delivered, {health['failed']} failed, {health['in_flight']} under way"
    )
    latency = f", {health['latency_s'] * 1000:.0f} ms (p95 {health['p95_s'] * 1000:.0f} ms)"
    return f"{one['left_out'] or 'offered'}: {counts}{latency if health['delivered'] else ''}"
