"""`smtp-router new-plugin`."""

import shlex
import sys
from pathlib import Path, PurePosixPath

import click

from smtp_router.cli import scaffold
from smtp_router.hooks.installed import InstalledPlugins
from smtp_router.hooks.plugin import HOOKS

NEXT = """\
{folder}: a plugin with {hooks}

  cd {folder}
  pip install -e '.[test]'
  pytest
  smtp-router plugins

What it does is in {module}/__init__.py, how it is configured in README.md.
"""


@click.command()
@click.argument("name")
@click.option(
    "--hook",
    "hooks",
    multiple=True,
    type=click.Choice(list(HOOKS)),
    default=["select_downstream"],
    show_default="select_downstream",
    help="What the plugin has; may be given several times.",
)
@click.option("--author", default="", show_default="its authors", help="Whose it is.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    show_default="the current folder",
    help="Where the plugin's own folder is made.",
)
def new_plugin(name: str, hooks: tuple[str, ...], author: str, into: Path) -> None:
    """Make a plugin that pip can install, with tests that pass: a place to start from.

    NAME is as configurations are to spell it, as in `by_size`.
    """
    try:
        parsed = scaffold.Name.parse(name)
    except scaffold.BadNameError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    if not author.isprintable():
        raise click.BadParameter("it has to be one line of text", param_hint="--author")
    folder = into / parsed.distribution
    try:
        made = scaffold.files(parsed, hooks, author)
        _write(folder, made)
    except scaffold.MissingExtraError as error:
        click.echo(f"new-plugin needs what is not installed; try: {error}", err=True)
        sys.exit(2)
    except FileExistsError:
        click.echo(f"{folder} exists already, and stays as it is.", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"{folder} cannot be written: {error.strerror}", err=True)
        sys.exit(2)
    for owner in InstalledPlugins().owners(parsed.plugin):
        click.echo(f"warning: {parsed.plugin} is taken here, by {owner}", err=True)
    told = {"folder": shlex.quote(str(folder)), "hooks": ", ".join(hooks), "module": parsed.module}
    click.echo(NEXT.format(**told), nl=False)


def _write(folder: Path, made: dict[PurePosixPath, str]) -> None:
    """Write the files into a new folder.

    Raises:
        FileExistsError: there is something of that name.
    """
    folder.mkdir()
    for path, text in made.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
