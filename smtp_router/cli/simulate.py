"""`smtp-router simulate`."""

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from smtp_router.cli.common import fail, load_or_exit
from smtp_router.cli.logs import json_line
from smtp_router.cli.options import config_option
from smtp_router.config.scenario import Scenario, load
from smtp_router.config.settings import User
from smtp_router.config.types import Rate, rate
from smtp_router.core.errors import ConfigError
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import build
from smtp_router.routing.journal import NAME
from smtp_router.simulation import extra
from smtp_router.simulation.clock import START
from smtp_router.simulation.recorded import Recorded
from smtp_router.simulation.report import Plain, report
from smtp_router.simulation.run import Log, Progress, Run, World, run
from smtp_router.simulation.sides import Side, sides, user_of
from smtp_router.simulation.text import text
from smtp_router.simulation.traffic import MadeUp, Traffic

MESSAGES = 100_000
SEED = 1

_Command = TypeVar("_Command", bound=Callable[..., object])
_FILE = click.Path(path_type=Path, dir_okay=False)


def _file(option: str, name: str, words: str) -> Callable[[_Command], _Command]:
    """An option for a file that is written."""
    return click.option(option, name, type=_FILE, show_default="no file", help=words)


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> Rate | None:
    """`100/s`."""
    try:
        return None if value is None else rate(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}", ctx, param) from None


@click.command()
@config_option
@click.option(
    "--user", show_default="the only one", help="Whose mail it is. Not needed if there is only one."
)
@click.option(
    "--scenario",
    type=_FILE,
    show_default="all is well",
    help="A file that says how downstreams behave, and what mail comes (YAML).",
)
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    show_default=f"{MESSAGES}, or all that are recorded",
    help="How many.",
)
@click.option(
    "--rate",
    "wanted",
    callback=_rate,
    show_default="as the scenario says",
    help="How fast they come, as in 50/s.",
)
@click.option(
    "--traffic",
    type=_FILE,
    show_default="mail that is made up",
    help="A log in JSON, whose messages come again.",
)
@click.option(
    "--compare",
    multiple=True,
    metavar="ALGORITHM",
    show_default="nobody",
    help="Another algorithm; may be given repeatedly.",
)
@click.option("--seed", type=int, default=SEED, show_default=True, help="What all chance follows from.")
@_file("--log", "log", "Write the log of the first algorithm's run to this file, in JSON.")
@_file("--json", "as_json", "Write all figures to this file; - is stdout.")
@_file("--html", "as_html", "Write a page with tables and plots to this file.")
@_file("--png", "as_png", "Write the plots to this file.")
def simulate(
    *,
    config: Path,
    user: str | None,
    scenario: Path | None,
    messages: int | None,
    wanted: Rate | None,
    traffic: Path | None,
    compare: Sequence[str],
    seed: int,
    log: Path | None,
    as_json: Path | None,
    as_html: Path | None,
    as_png: Path | None,
) -> None:
    """Try an algorithm on a hundred thousand messages, an outage among them, within seconds.

    The real router and the real plugins run in virtual time. What they send comes to modelled
    downstreams: nothing is delivered. A plugin that writes files does so here as well.

    \b
    A scenario:
      downstreams:
        provider1:
          latency: {p50: 80ms, p95: 300ms}
          failure: {deferred: 0.01}
          outages: [{from: 5m, to: 10m, how: refused}]
          cost_per_1000: 0.10
    """  # noqa: D301 - click's mark for what is not to be wrapped
    if traffic and wanted:
        raise click.UsageError("--rate is for mail that is made up, and --traffic brings its own pace")
    if (as_html or as_png) and (problem := extra.missing()):
        raise click.UsageError(f"--html and --png: {problem}")
    loaded = load_or_exit(config)
    try:
        who = user_of(loaded, user)
        algorithms = sides(loaded, who, compare)
        _check(algorithms)
        assumed = _scenario(scenario, who)
        world = World(
            scenario=assumed,
            traffic=_traffic(traffic, assumed, who, seed, messages=messages, wanted=wanted),
            user=who.email,
            seed=seed,
        )
        found = report(world, _runs(algorithms, world, log))
    except ConfigError as error:
        fail(error)
    _write(found, as_json, as_html, as_png)


def _check(algorithms: Sequence[Side]) -> None:
    """See that all of them can be used, before the first is run."""
    for side in algorithms:
        try:
            build(side.loaded, Registry())
        except ConfigError as error:
            raise side.blamed(error) from None


def _scenario(file: Path | None, user: User) -> Scenario:
    if file is None:
        return Scenario()
    return load(file, [downstream.name for downstream in user.downstreams])


def _traffic(
    file: Path | None,
    scenario: Scenario,
    user: User,
    seed: int,
    *,
    messages: int | None,
    wanted: Rate | None,
) -> Traffic:
    if file is not None:
        kind = scenario.mail[0]
        return Recorded(file, user.email, kind, seed, most=messages, start=scenario.start)
    return MadeUp(
        scenario,
        user.email,
        seed,
        count=messages or MESSAGES,
        rate=wanted or scenario.rate,
        start=scenario.start or START,
    )


def _runs(algorithms: Sequence[Side], world: World, log: Path | None) -> list[Run]:
    """One after the other, with a bar that shows how far they are, where somebody looks."""
    gc.freeze()  # each pass over what is there anyway would take time
    gc.set_threshold(100_000)
    length = world.traffic.count * len(algorithms)
    bar = click.progressbar(length=length, label="simulating", file=sys.stderr)
    with _lines_to(log) as first, bar if sys.stderr.isatty() else nullcontext() as shown:
        progress: Progress = shown.update if shown else lambda _: None
        logs = [first] + [None] * len(algorithms)
        return [
            run(side.name, side.loaded, world, progress, one)
            for side, one in zip(algorithms, logs, strict=False)
        ]


@contextmanager
def _lines_to(file: Path | None) -> Iterator[Log | None]:
    """Writes lines to a file, for the time of a block."""
    if file is None:
        yield None
        return
    try:
        with file.open("w", encoding="utf-8") as out:
            yield lambda at, level, event, fields: print(
                json_line(at, level, NAME, event, fields), file=out
            )
    except OSError as error:
        _cannot_write(file, error)


def _write(found: Plain, as_json: Path | None, as_html: Path | None, as_png: Path | None) -> None:
    to_stdout = as_json == Path("-")
    if not to_stdout:
        click.echo(text(found))
    if as_json:
        written = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        if to_stdout:
            click.echo(written, nl=False)
        else:
            _save(as_json, lambda file: file.write_text(written, encoding="utf-8"))
    if as_html:
        from smtp_router.simulation.page import page  # noqa: PLC0415 - the extra

        _save(as_html, lambda file: file.write_text(page(found), encoding="utf-8"))
    if as_png:
        from smtp_router.simulation.plots import png  # noqa: PLC0415 - the extra

        _save(as_png, lambda file: png(found, file))


def _save(file: Path, write: Callable[[Path], object]) -> None:
    try:
        write(file)
    except OSError as error:
        _cannot_write(file, error)


def _cannot_write(file: Path, error: OSError) -> NoReturn:
    click.echo(f"cannot write {file}: {error.strerror}", err=True)
    sys.exit(2)
