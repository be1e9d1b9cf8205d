"""`${env:NAME}` and `${file:PATH}` in any value, so that secrets need not stand in the file."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from smtp_router.config.key_path import KeyPath, key_path
from smtp_router.config.tree import Node
from smtp_router.core.errors import Problem
from smtp_router.disk import Watch

MAX_FILE_BYTES = 64 * 1024

# No brace inside, so that a text of nothing but "${" is read once, not once for each of them.
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


class References:
    """Puts in what the references of one configuration stand for."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        """Relative paths start from the folder of `file`."""
        self._file = file
        self._environ = environ
        self.problems: list[Problem] = []
        """References that do not resolve; each names its key, none what it would have held."""
        self._resolved: dict[int, Node] = {}  # what is seen again through an alias
        self.watches: dict[Path, Watch] = {}
        """Files that were read, which a reload has to look at as well."""

    def resolve(self, node: Node, path: KeyPath = ()) -> None:
        """Replace all references below this node, in place."""
        value = node.value
        if isinstance(value, str):
            if "${" in value and id(node) not in self._resolved:
                node.value = _REFERENCE.sub(lambda match: self._text(match[1], node, path), value)
                self._resolved[id(node)] = node
        else:
            for step, child in _children(node):
                self.resolve(child, (*path, step))

    def _text(self, reference: str, node: Node, path: KeyPath) -> str:
        kind, colon, name = reference.partition(":")
        if kind == "env" and colon:
            if name in self._environ:
                return self._environ[name]
            problem = f"the environment has no variable {name}: set it, or take the reference out"
        elif kind == "file" and colon:
            try:
                return self._read(name)
            except OSError as error:
                problem = f"the file {name} cannot be read: {error.strerror}"
            except ValueError as error:
                problem = f"the file {name} {error}"
        else:
            problem = f"${{{reference}}} is no reference: write ${{env:NAME}} or ${{file:PATH}}"
        self.problems.append(
            Problem(file=str(self._file), line=node.line, key=key_path(path), message=problem)
        )
        return ""

    def _read(self, name: str) -> str:
        path = Path(os.path.abspath(self._file.parent / name))  # noqa: PTH100 - links stay links
        watch = self.watches.setdefault(path, Watch(path))
        content = watch.read(max_bytes=MAX_FILE_BYTES)
        if len(content) > MAX_FILE_BYTES:
            message = f"is bigger than {MAX_FILE_BYTES // 1024} KiB"
            raise ValueError(message)
        try:
            return content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            message = "is not UTF-8 text"
            raise ValueError(message) from None


def _children(node: Node) -> Iterator[tuple[str | int, Node]]:
    if isinstance(node.value, dict):
        yield from node.value.items()
    elif isinstance(node.value, list):
        yield from enumerate(node.value)
