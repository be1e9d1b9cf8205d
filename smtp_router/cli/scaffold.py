"""The files of a new plugin's distribution, made from templates.

A name is given in any of three ways, and stands in four: `by_size` is the plugin, as configurations name
it; `smtp-router-by-size` the distribution; `smtp_router_by_size` the module; `BySize` the class in it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import PurePosixPath

import smtp_router
from smtp_router.cli.plugin_parts import PARTS
from smtp_router.hooks.plugin import HOOKS

MAX_NAME = 30
"""So that no line of the files gets too long."""

EXTRA = "testing"
"""What authors install beside the router: the template engine, and what tests take."""

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "{module}/__init__.py": "module.py",
    "{module}/py.typed": "",
    "tests/test_{name}.py": "test.py",
}
"""Each file, with its template; `""` for an empty one."""

NOT_IN_YAML = {"false", "no", "null", "off", "on", "true", "yes"}
"""What configurations could not name without quotes."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


class BadNameError(ValueError):
    """A name that no plugin can have; the text says why."""


class MissingExtraError(Exception):
    """What renders the templates is not installed."""


@dataclass(frozen=True, slots=True)
class Name:
    """A plugin's name, in the four ways it is spelt.

    Raises:
        BadNameError: (`Name.parse`) no plugin can have it.
    """

    plugin: str

    @classmethod
    def parse(cls, given: str) -> "Name":
        """`by-size`, `by_size` and `smtp-router-by-size` are the same name."""
        bare = re.sub("^smtp[-_]router[-_]", "", given)
        if not _NAME.fullmatch(bare):
            message = (
                f"{given!r} is no name: it takes a-z and 0-9, words joined by - or _, as in by-size"
            )
            raise BadNameError(message)
        if len(bare) > MAX_NAME:
            raise BadNameError(f"{given!r} is too long: {MAX_NAME} characters are the most")
        if bare in NOT_IN_YAML:
            raise BadNameError(f"{given!r} is no text in YAML")
        name = cls(bare.replace("-", "_"))
        if name.class_name in {*smtp_router.__all__, "Sequence"}:
            raise BadNameError(f"{given!r} makes a class {name.class_name}, which there is already")
        return name

    @property
    def distribution(self) -> str:
        """`smtp-router-by-size`."""
        return f"smtp-router-{self.plugin.replace('_', '-')}"

    @property
    def module(self) -> str:
        """`smtp_router_by_size`."""
        return f"smtp_router_{self.plugin}"

    @property
    def class_name(self) -> str:
        """`BySize`."""
        return "".join(word.capitalize() for word in self.plugin.split("_"))

    @property
    def header(self) -> str:
        """`X-By-Size`."""
        return "-".join(["X", *(word.capitalize() for word in self.plugin.split("_"))])


def files(name: Name, hooks: Iterable[str], author: str) -> dict[PurePosixPath, str]:
    """All files of a new distribution, by their paths in its folder.

    Args:
        name: the plugin's.
        hooks: what it is to have.
        author: whose it is, for the metadata and the licence; `""` for its authors.

    Raises:
        MissingExtraError: the template engine is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415 - in an extra
    except ImportError as error:
        raise MissingExtraError(f"pip install 'smtp-router[{EXTRA}]'") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smtp_router", "cli/templates/plugin"),
        autoescape=False,  # noqa: S701 - no HTML
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = _quoted
    context = _context(name, [hook for hook in HOOKS if hook in set(hooks)], author)
    return {
        PurePosixPath(path.format(module=name.module, name=name.plugin)): (
            environment.get_template(f"{template}.jinja").render(context) if template else ""
        )
        for path, template in FILES.items()
    }


def _context(name: Name, hooks: list[str], author: str) -> dict[str, object]:
    """What the templates know."""
    parts = [PARTS[hook] for hook in hooks]
    options = [part.option for part in parts if part.option]
    is_algorithm = "select_downstream" in hooks
    given = ", ".join(f"{one.name}: {one.example.format(header=name.header)}" for one in options)
    path = f"./{name.module}/__init__.py"
    kit = {"conformance", "make_plugin", *(each for part in parts for each in part.kit)}
    return {
        "name": name.plugin,
        "distribution": name.distribution,
        "module": name.module,
        "class_name": name.class_name,
        "header": name.header,
        "hooks": hooks,
        "author": author or f"the {name.distribution} authors",
        "year": date.today().year,  # noqa: DTZ011 - where the author is
        "requires": requirement(version("smtp-router")),
        "summaries": [part.summary for part in parts],
        "imports": _sorted_imports(line for part in parts for line in part.imports),
        "names": sorted({"hookimpl", *(each for part in parts for each in part.names)}),
        "kit": sorted(kit),
        "wrong": [f'{{"{one.name}": {one.wrong}}}' for one in options],
        "options": [(one.name, one.default.format(header=name.header), one.meaning) for one in options],
        "use": f"{{use: {name.plugin}, options: {{{given}}}}}" if given else name.plugin,
        "by_path": f"algorithm: {path}" if is_algorithm else f"plugins: [{path}]",
    }


def requirement(router: str) -> str:
    """What a plugin that is written for this version of the router needs: `>=0.1,<1`."""
    major, minor = router.split(".")[:2]
    return f">={major}.{minor},<{int(major) + 1}"


def _sorted_imports(lines: Iterable[str]) -> list[str]:
    """As isort has them: `import …` first."""
    return sorted(set(lines), key=lambda line: (line.startswith("from"), line))


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
