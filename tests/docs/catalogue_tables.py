"""The tables of docs/plugins/catalogue.md, made from the metadata of the distributions in plugins/."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from smtp_router.hooks.installed import Installed, InstalledPlugins
from tests.docs.markdown import Row, table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins" / "catalogue.md"
FOLDERS = sorted(file.parent.name for file in (ROOT / "plugins").glob("*/pyproject.toml"))
HEAD = ("name", "what it does", "hooks", "to install it")


def algorithms() -> str:
    """Those that choose."""
    return table(HEAD, _rows(is_algorithm=True))


def others() -> str:
    """Those that do not."""
    return table(HEAD, _rows(is_algorithm=False))


def _rows(*, is_algorithm: bool) -> Iterator[Row]:
    for plugin in ours():
        if ("select_downstream" in plugin.hooks) is is_algorithm:
            yield (
                f"[`{plugin.name}`](../../plugins/{plugin.name}/README.md)",
                plugin.summary,
                ", ".join(f"`{hook}`" for hook in plugin.hooks),
                f"`pip install {plugin.distribution}`",
            )


def ours() -> list[Installed]:
    """What is installed from the folders of the repository, which have the plugins' names."""
    return [plugin for plugin in InstalledPlugins().listed() if plugin.name in FOLDERS]


MAKERS: Mapping[str, Callable[[], str]] = {"algorithms": algorithms, "others": others}
