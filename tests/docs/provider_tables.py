"""The tables of docs/providers.md, made from the providers' files."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from smtp_router.config.presets import Presets
from smtp_router.config.provider import Fact, Provider
from smtp_router.core.replies import AUTH_REST_S, QUOTA_REST_S
from tests.docs.markdown import Row, table

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
DEFAULT_REST_S = {"quota": QUOTA_REST_S, "auth": AUTH_REST_S}


def providers() -> list[Provider]:
    presets = Presets()
    return [presets.get(name) for name in presets.names]


def hosts() -> str:
    """Where they are, and how they are reached."""
    return table(
        ("`provider`", "who", "hosts", "ports"),
        [
            (
                f"`{one.name}`",
                f"{one.title} {_cite(one, *one.hosts.values(), *one.ports.values())}",
                ", ".join(_hosts(one)),
                ", ".join(f"{port} {fact.value}" for port, fact in one.ports.items()),
            )
            for one in providers()
        ],
    )


def limits() -> str:
    """What they take."""
    rows: list[Row] = []
    for one in providers():
        sizes = {
            "max_message_bytes": one.max_message_bytes,
            "max_recipients": one.max_recipients,
            "max_messages_per_connection": one.max_messages_per_connection,
        }
        facts = {**sizes, **{f"limits.{key}": fact for key, fact in one.limits.items()}}
        rows += [
            (f"`{one.name}`", f"`{key}`", f"{fact.value:,} {_cite(one, fact)}")
            for key, fact in facts.items()
            if fact
        ]
    return table(("`provider`", "what", "at most"), rows)


def replies() -> str:
    """What they say."""
    return table(
        ("`provider`", "a reply, as the log shows it", "class", "rests"),
        [
            (
                f"`{one.name}`",
                f"`{reply.example}` [{_numbers(one)[reply.source]}](#{one.name})",
                f"`{reply.reply_class}`",
                _seconds(reply.rest_s or DEFAULT_REST_S.get(reply.reply_class)),
            )
            for one in providers()
            for reply in one.replies
        ],
    )


def sources() -> str:
    """Where all that is from."""
    lines = []
    for one in providers():
        lines.append(f'- <a id="{one.name}"></a>`{one.name}`')
        for name, number in _numbers(one).items():
            source = one.sources[name]
            via = f": read in {source.via}" if source.via else ""
            lines.append(f"  - {number}: <{source.url}>, {source.seen}{via}")
    return "\n".join(lines)


MAKERS: Mapping[str, Callable[[], str]] = {
    "hosts": hosts,
    "limits": limits,
    "replies": replies,
    "sources": sources,
}


def _hosts(provider: Provider) -> Iterator[str]:
    if len(provider.hosts) == 1:
        yield from (f"`{fact.value}`" for fact in provider.hosts.values())
        return
    shapes = {fact.value.replace(region, "REGION") for region, fact in provider.hosts.items()}
    if len(shapes) == 1:
        yield from (f"`{region}`" for region in provider.hosts)
        yield f"each at `{shapes.pop()}`"
        return
    for region, fact in provider.hosts.items():
        default = " (default)" if region == provider.default_region else ""
        yield f"`{region}`{default}: `{fact.value}`"


def _numbers(provider: Provider) -> dict[str, int]:
    return {name: number for number, name in enumerate(provider.sources, 1)}


def _cite(provider: Provider, *facts: Fact[Any]) -> str:
    numbers = sorted({_numbers(provider)[fact.source] for fact in facts})
    return " ".join(f"[{number}](#{provider.name})" for number in numbers)


def _seconds(rest_s: float | None) -> str:
    return f"{rest_s:g} s" if rest_s else "no"
