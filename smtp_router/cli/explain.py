"""`smtp-router explain`."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, getaddresses
from pathlib import Path
from typing import Any

import click

from smtp_router.cli.common import fail, load_or_exit
from smtp_router.cli.options import config_option
from smtp_router.cli.trace import printable, rounds_in_words
from smtp_router.config.load import Loaded
from smtp_router.control.client import NoAnswerError, ask
from smtp_router.core.address import is_address
from smtp_router.core.errors import ConfigError
from smtp_router.core.headers import Headers, format_field
from smtp_router.core.message import Message
from smtp_router.core.trace import Trace
from smtp_router.hooks.registry import Registry
from smtp_router.machine import MonotonicClock
from smtp_router.routing.epoch import build
from smtp_router.routing.explain import explain as explained
from smtp_router.routing.retired import Retired

SENDER, RECIPIENT = "sender@example.com", "recipient@example.com"
"""Of a message of which nothing else is said."""


@click.command()
@config_option
@click.option("--user", help="Whose message it is. Not needed if the configuration has one user.")
@click.option("--from", "mail_from", help="MAIL FROM; by default, what stands in From:.")
@click.option("--to", "rcpt_tos", multiple=True, help="RCPT TO; by default, what stands in To: and Cc:.")
@click.option("--header", "fields", multiple=True, help="A header field more, as in 'X-Priority: 1'.")
@click.option("--at", type=click.DateTime(), help="When it comes, in UTC. By default now.")
@click.option("--canary", is_flag=True, help="Let the user's canary choose.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("file", metavar="[MESSAGE.eml]", type=click.File("rb"), required=False)
def explain(
    *,
    config: Path,
    user: str | None,
    mail_from: str | None,
    rcpt_tos: Sequence[str],
    fields: Sequence[str],
    at: datetime | None,
    file: Any,  # noqa: ANN401 - a binary stream
    canary: bool,
    as_json: bool,
) -> None:
    """Show who would get a message, and why, without sending it.

    The plugins are real, and begin anew. How the downstreams fare is asked of the router that runs with
    this configuration; without one, all of them fare well. Ends with 1 if nobody would get it.
    """
    loaded = load_or_exit(config)
    login = _login(loaded, user)
    content = _content(file.read() if file else b"", mail_from, rcpt_tos, fields, at)
    headers = Headers(content)
    message = Message(
        id="explain",
        user=login,
        mail_from=_addresses("--from", [mail_from] if mail_from is not None else [], headers, "From")[0],
        rcpt_tos=tuple(_addresses("--to", rcpt_tos, headers, "To", "Cc")),
        content=content,
        received_at=at.replace(tzinfo=UTC) if at else datetime.now(UTC),
    )
    told = _told(loaded, login)
    trace = asyncio.run(_explain(loaded, message, told, canary=canary))
    order = [attempt.downstream.name for attempt in trace.attempts]
    if as_json:
        live = told is not None
        click.echo(json.dumps({"order": order, "live": live, **trace.told()}, indent=2))
    else:
        click.echo(printable(_readable(trace.told(), order, live=told is not None)))
    sys.exit(0 if order else 1)


async def _explain(
    loaded: Loaded, message: Message, told: Mapping[str, Any] | None, *, canary: bool
) -> Trace:
    clock = MonotonicClock()
    try:
        epoch = build(loaded, Registry(clock))
    except ConfigError as error:
        fail(error)
    try:
        return await explained(epoch, message, clock, told=told, canary=canary)
    except (TypeError, ValueError) as error:
        raise click.UsageError("the router that is running is of another version") from error
    finally:
        retired = Retired(clock)
        retired.add(epoch)
        await retired.close_all()


def _readable(told: Mapping[str, Any], order: Sequence[str], *, live: bool) -> Iterator[str]:
    yield f"{' → '.join(order) or 'nobody'}"
    if not live:
        yield "(no router is running with this configuration: all downstreams are taken to fare well)"
    for number, one in enumerate(told["rounds"], 1):
        yield ""
        yield "first:" if number == 1 else f"{number}. if that fails:"
        yield from rounds_in_words(one)
        if attempt := one["attempt"]:
            yield f"  → {attempt['downstream']}"
    yield ""
    yield f"{'and if that fails, too, ' if order else ''}the client hears: {told['reply']}"


def _login(loaded: Loaded, user: str | None) -> str:
    logins = [one.email for one in loaded.settings.users]
    if user is None and len(logins) == 1:
        return logins[0]
    if user not in logins:
        what = f"there is no user {user}" if user else "there are several users"
        raise click.UsageError(f"{what}; --user is one of: {', '.join(logins[:10])}")
    return user


def _content(
    given: bytes,
    mail_from: str | None,
    rcpt_tos: Sequence[str],
    fields: Sequence[str],
    at: datetime | None,
) -> bytes:
    """The message with all its fields; a small one, if none is given."""
    content = b"\r\n".join(given.splitlines()) + b"\r\n" if given else b"\r\n"
    more = []
    for field in fields:
        name, colon, value = field.partition(":")
        try:
            if not colon:
                raise ValueError("it has no colon")
            more.append(format_field(name.strip(), value.strip()))
        except ValueError as error:
            raise click.BadParameter(f"{field!r}: {error}", param_hint="--header") from None
    there = Headers(b"".join(more) + content)
    if not given:
        defaults = {
            "From": mail_from or SENDER,
            "To": ", ".join(rcpt_tos) or RECIPIENT,
            "Date": format_datetime(at or datetime.now(UTC)),
        }
        more += [format_field(name, value) for name, value in defaults.items() if name not in there]
    return b"".join(more) + content


def _addresses(option: str, given: Sequence[str], headers: Headers, *names: str) -> list[str]:
    """What an option says, or else what stands in the header."""
    in_header = [value for name in names for value in headers.get_all(name)]
    found = list(given) or [address for _, address in getaddresses(in_header) if address]
    for address in found:
        if not is_address(address) or (not address and option == "--to"):
            raise click.BadParameter(f"{address!r} is no address", param_hint=option)
    if not found:
        raise click.UsageError(f"the message has no {' or '.join(names)} field: add {option}")
    return found


def _told(loaded: Loaded, login: str) -> Mapping[str, Any] | None:
    """How the user's downstreams fare at the router that is running, if one is."""
    if loaded.settings.control is None:
        return None
    try:
        answer: Any = ask(loaded.folder / loaded.settings.control, "status", user=login)
        downstreams: Mapping[str, Any] = answer["users"][login]["downstreams"]
    except (NoAnswerError, KeyError, TypeError):
        return None
    return downstreams
