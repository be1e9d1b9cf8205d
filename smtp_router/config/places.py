"""Where what is said about a configuration stands in its file."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from smtp_router.config import tree
from smtp_router.config.key_path import KeyPath, key_path
from smtp_router.config.load import ALIASES
from smtp_router.core.errors import Problem


def problems(packed: bytes, file: Path, found: Iterable[tuple[KeyPath, str]]) -> list[Problem]:
    """See `smtp_router.config.load.Loaded.problems`."""
    root = tree_again(zlib.decompress(packed), file)
    return [problem_at(file, root, path, message) for path, message in found]


def problem_at(file: Path, root: tree.Node, path: KeyPath, message: str) -> Problem:
    """A problem at a key, with the line of it or of what is nearest above."""
    node, _ = root.at(path)
    return Problem(file=str(file), line=node.line, key=key_path(path), message=message)


def tree_again(text: bytes, file: Path) -> tree.Node:
    """The tree of what was read, for the lines of its keys."""
    root = tree.parse(text, str(file))
    for _ in rename_aliases(file, root):
        pass
    return root


def rename_aliases(file: Path, root: tree.Node) -> Iterator[Problem]:
    """Give other spellings of a key its first one."""
    for index, user in root.entries("users"):
        if not isinstance(user.value, dict):
            continue
        for alias, key in ALIASES.items():
            if alias in user.value and key in user.value:
                message = f"says the same as {key}: keep one of the two"
                yield problem_at(file, root, ("users", index, alias), message)
                del user.value[alias]
            elif alias in user.value:
                user.value = {key if name == alias else name: node for name, node in user.value.items()}
