"""`smtp-router check`."""

from pathlib import Path

import click

from smtp_router.cli.common import fail, warn_if_untrusted
from smtp_router.cli.options import config_option
from smtp_router.config.crew_size import crew_size, indivisible
from smtp_router.config.load import InvalidConfigError, Loaded, load
from smtp_router.config.settings import Downstream
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.hooks.plugin import Plugin
from smtp_router.hooks.registry import Registry
from smtp_router.machine import cores
from smtp_router.routing.epoch import Epoch, Route, build
from smtp_router.smtp.certificate import certificate_problems


@click.command()
@config_option
def check(config: Path) -> None:
    """Check the configuration and every plugin it names, without listening.

    Ends with 0, or with 2 and every problem found.
    """
    try:
        loaded = load(config)
    except InvalidConfigError as error:
        fail(ConfigError([*error.problems, *_plugin_problems(error.usable)]))
    except ConfigError as error:
        fail(error)
    warn_if_untrusted(config)
    problems = [*certificate_problems(loaded), *indivisible(loaded, crew_size(loaded, cores()))]
    try:
        epoch = build(loaded, Registry())
    except ConfigError as error:
        fail(ConfigError([*problems, *error.problems]))
    if problems:
        fail(ConfigError(problems))
    for line in report(epoch):
        click.echo(line)


def _plugin_problems(usable: Loaded) -> tuple[Problem, ...]:
    """What is wrong with the plugins of those users that have no other problem."""
    try:
        build(usable, Registry())
    except ConfigError as error:
        return error.problems
    return ()


def report(epoch: Epoch) -> list[str]:
    """What a configuration amounts to, in lines."""
    lines = [f"{epoch.loaded.file}: valid"]
    lines += [f"listens on {it.addr}  (tls {it.tls})" for it in epoch.settings.listen]
    for route in epoch.routes.values():
        lines += _describe(route)
    return lines


def _describe(route: Route) -> list[str]:
    *others, algorithm = route.plugins
    return [
        f"user {route.user.email}",
        *(f"  plugin      {_plugin(plugin)}" for plugin in others),
        f"  algorithm   {_plugin(algorithm)}",
        *(f"  downstream  {_downstream(target.settings)}" for target in route.targets.values()),
    ]


def _plugin(plugin: Plugin) -> str:
    return f"{plugin.name}  ({plugin.source}: {', '.join(dict.fromkeys(plugin.hooks))})"


def _downstream(settings: Downstream) -> str:
    tls = "implicit" if settings.implicit_tls else settings.tls
    login = f"login {settings.user}" if settings.user else "no login"
    login += f" by {settings.auth.type}" if settings.auth else ""
    verified = "" if settings.tls_verify else ", certificate not verified"
    rules = f", {len(settings.rules)} reply rules" if settings.rules else ""
    return f"{settings.name}  ({settings.addr}, tls {tls}{verified}, {login}{rules})"
