"""`smtp-router trace`, and how a trace reads."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from smtp_router.cli.common import asked, load_or_exit
from smtp_router.cli.options import config_option


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of traces.")
@click.argument("beginning", metavar="[ID]", default="")
def trace(config: Path, beginning: str, *, as_json: bool) -> None:
    """Show how a message was routed that a running router has dealt with.

    ID is a message's id, or its beginning. Without one, the last messages are listed. The last 1,000 are
    kept. Ends with 1 if there is no such message.
    """
    found = asked(load_or_exit(config), "trace", id=beginning)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif beginning:
        click.echo("\n\n".join(printable(readable(one)) for one in found))
    else:
        click.echo(printable(map(_line, found)))
    if not found:
        click.echo(
            "no such message is among the last 1,000" if beginning else "no message yet", err=True
        )
        raise click.exceptions.Exit(1)


def printable(lines: Iterable[str]) -> str:
    """Lines for a terminal, which nothing that stood in a message gets to control."""
    return "\n".join("".join(one if one.isprintable() else "?" for one in line) for line in lines)


def readable(told: Mapping[str, Any]) -> Iterator[str]:
    """A trace in lines."""
    yield f"message {told['id']} of {told['user']}, {told['time']}"
    more = told["recipients"] - len(told["rcpt_tos"])
    recipients = ", ".join(f"<{one}>" for one in told["rcpt_tos"]) + (
        f" and {more} more" if more else ""
    )
    yield f"from <{told['mail_from']}> to {recipients}, {told['bytes']} octets"
    if told["canary"]:
        yield f"canary: {told['canary']} chooses"
    for number, one in enumerate(told["rounds"], 1):
        yield f"{number}."
        yield from rounds_in_words(one)
        if one["attempt"]:
            yield _attempt(one["attempt"])
    yield f"answer: {told['reply'] or 'none, the client has gone away'}"


def rounds_in_words(one: Mapping[str, Any]) -> Iterator[str]:
    """Who was offered in one round, who not and why, and what the plugins said."""
    yield f"  offered: {', '.join(one['offered']) or 'nobody'}"
    for left_out in one["left_out"]:
        yield f"    not {left_out['downstream']}: {left_out['why']}"
    for said in one["plugins"]:
        yield f"  {said['plugin']}: {said['hook']}: {said['answer'] or _SILENCE.get(said['hook'], '')}"
        yield from (f"    {note}" for note in said["notes"])


def _attempt(attempt: Mapping[str, Any]) -> str:
    why = attempt["reply"] or attempt["reason"] or ""
    what = f"{attempt['outcome']} at {attempt['stage']} in {attempt['seconds']:g} s"
    return f"  → {attempt['downstream']}: {what}: {why}".rstrip(": ")


_SILENCE = {
    "select_downstream": "no opinion",
    "before_send": "unchanged",
    "after_send": "told",
    "shadow": "no opinion",
}


def _line(told: Mapping[str, Any]) -> str:
    tried = [one["attempt"]["downstream"] for one in told["rounds"] if one["attempt"]]
    way = " → ".join(tried) or "nobody"
    return f"{told['time']}  {told['id']}  {told['user']}  {way}  {told['reply'] or 'gone'}"
