"""From the text of a configuration to `Settings`, or to every problem that keeps it from being one.

This takes pydantic and PyYAML, and who goes by settings needs neither: see `smtp_router.config.load`.
"""

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from smtp_router.config import tree
from smtp_router.config.explain import explain
from smtp_router.config.key_path import KeyPath, key_path
from smtp_router.config.load import InvalidConfigError, Loaded
from smtp_router.config.places import problem_at, rename_aliases, tree_again
from smtp_router.config.presets import Presets
from smtp_router.config.references import References
from smtp_router.config.settings import Settings, User
from smtp_router.config.sharing import share
from smtp_router.config.value import Value
from smtp_router.core.errors import ConfigError, Problem
from smtp_router.disk import Watch

Part = TypeVar("Part", bound=Value)


def validated(part: type[Part], given: object, presets: Presets | None = None) -> Part:
    """A part of the settings, of what was given for it.

    Args:
        part: which one.
        given: what stands in a configuration, as dicts, lists and scalars.
        presets: what is known of providers.

    Raises:
        ValidationError: pydantic's, with everything that is wrong.
    """
    found: Part = reader(part).validate_python(  # type: ignore[arg-type]  # a class has a hash
        given, context=presets or Presets()
    )
    return found


@cache
def reader(part: type[Any]) -> TypeAdapter[Any]:
    """What reads a part of the settings; to make it takes pydantic a while."""
    adapter: TypeAdapter[Any] = TypeAdapter(part)
    return adapter


def read(text: bytes, file: Path, *, environ: Mapping[str, str], watches: tuple[Watch, ...]) -> Loaded:
    """See `smtp_router.config.load.parse`.

    Raises:
        ConfigError: with every problem found.
    """
    root = tree.parse(text, str(file))
    if not isinstance(root.value, dict):
        message = "must be a mapping with the key users (see docs/configuration.md)"
        raise ConfigError([Problem(file=str(file), line=root.line, message=message)])
    references = References(file, environ)
    references.resolve(root)
    problems = list(references.problems)
    broken = {problem.key for problem in problems}
    problems += rename_aliases(file, root)
    problems += _resolve_paths(file, root)
    watches = (*watches, *references.watches.values())
    duplicates = list(_duplicates(file, root))
    plain = _taken_apart(root.value)
    del root  # its users are three times what their settings are; it is made again for a problem's line
    presets = Presets()
    settings: Settings | None = None
    try:
        settings = validated(Settings, plain, presets)
    except ValidationError as error:
        root = tree_again(text, file)
        for detail in error.errors(include_url=False, include_input=False):
            _, reached = root.at(tuple(detail["loc"]))
            if key_path(reached) not in broken and not _is_echo(root, detail):
                problems.append(explain(file, root, detail, Settings))
    else:
        found = [*_shared_networks(settings), *_differing_quotas(settings)]
        if found:
            root = tree_again(text, file)
            problems += [problem_at(file, root, *each) for each in found]
    problems += duplicates
    if settings is not None and not problems:
        share(settings.users)
        positions = range(len(settings.users))
        return Loaded(
            settings=settings, file=file, watches=watches, packed=_packed(text), positions=positions
        )
    users = dict(_usable_users(plain.get("users"), presets))
    usable = Loaded(
        settings=Settings(
            users=tuple(users.values()),
            allow_writable_plugins=plain.get("allow_writable_plugins") is True,
        ),
        file=file,
        watches=watches,
        packed=_packed(text),
        positions=tuple(users),
    )
    raise InvalidConfigError(sorted(problems, key=lambda problem: problem.line), usable)


def _taken_apart(root: dict[str, tree.Node]) -> dict[str, object]:
    """The values without lines; of lists, each item is forgotten as it is done.

    To free the tree of ten thousand users at once holds all threads for 60 ms.
    """
    plain: dict[str, object] = {}
    for key, node in root.items():
        if isinstance(node.value, list):
            items = node.value[::-1]
            node.value = None
            plain[key] = found = []
            while items:
                found.append(items.pop().plain())
        else:
            plain[key] = node.plain()
    return plain


def _packed(text: bytes) -> bytes:
    return zlib.compress(text, 1)


def _usable_users(users: object, presets: Presets) -> Iterator[tuple[int, User]]:
    """The users that have no problem of their own, by position."""
    for index, user in enumerate(users if isinstance(users, list) else []):
        with suppress(ValidationError):
            yield index, validated(User, user, presets)


def _resolve_paths(file: Path, root: tree.Node) -> Iterator[Problem]:
    """Let relative paths start from the configuration's folder, and see that the files are there."""
    places = [listener for _, listener in root.entries("listen")]
    places += [entry for _, user in root.entries("users") for _, entry in user.entries("downstreams")]
    for entry_with_addr in places:
        node = entry_with_addr.child("addr")
        if node and isinstance(node.value, str) and node.value.startswith("unix:") and node.value[5:]:
            path = file.parent / node.value.removeprefix("unix:")
            node.value = f"unix:{os.path.abspath(path)}"  # noqa: PTH100 - as below
    for place, node in _file_nodes(root):
        if not isinstance(node.value, str):
            continue
        path = file.parent / node.value
        node.value = os.path.abspath(path)  # noqa: PTH100 - links stay links
        if not path.is_file():
            yield problem_at(file, root, place, "is no file: give the path of a PEM file")


def _file_nodes(root: tree.Node) -> Iterator[tuple[KeyPath, tree.Node]]:
    """The keys that hold a path, where they are given."""
    for index, listener in root.entries("listen"):
        for key in ("tls_cert", "tls_key"):
            if node := listener.child(key):
                yield ("listen", index, key), node
    for index, user in root.entries("users"):
        for position, downstream in user.entries("downstreams"):
            for key in ("tls_ca", "tls_client_cert", "tls_client_key"):
                if node := downstream.child(key):
                    yield ("users", index, "downstreams", position, key), node


def _duplicates(file: Path, root: tree.Node) -> Iterator[Problem]:
    """Logins, and names of one user's downstreams, that stand there twice."""
    emails: dict[str, int] = {}
    for index, user in root.entries("users"):
        email = _text(user, "email")
        if email in emails:
            message = f"is the same login as that of users[{emails[email]}]"
            yield problem_at(file, root, ("users", index, "email"), message)
        elif email:
            emails[email] = index
        names: dict[str, int] = {}
        for position, downstream in user.entries("downstreams"):
            key, name = _name_of(downstream)
            if name in names:
                message = f"is the name of downstreams[{names[name]}], too: add another name"
                path = ("users", index, "downstreams", position, key)
                yield problem_at(file, root, path, message)
            elif name:
                names[name] = position


def _name_of(downstream: tree.Node) -> tuple[str, str]:
    """What a downstream is called, and the key that says so."""
    for key in ("name", "addr", "provider"):
        if name := _text(downstream, key):
            return key, name
    provider = downstream.child("provider")
    return "provider", _text(provider, "use") if provider else ""


def _shared_networks(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Networks that belong to two users."""
    owners: dict[object, int] = {}
    for index, user in enumerate(settings.users):
        for position, network in enumerate(user.networks):
            if owners.setdefault(network, index) != index:
                yield (
                    ("users", index, "networks", position),
                    (f"belongs to users[{owners[network]}], too: a network has one user"),
                )


def _differing_quotas(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Downstreams that count together and do not agree on how much that is."""
    if not settings.quotas:
        return
    for index, user in enumerate(settings.users):
        for position, downstream in enumerate(user.downstreams):
            limits = downstream.limits
            name = limits.name(user.email, downstream.name)
            for kind, limit in limits.quotas.items():
                shared = settings.quotas[name]
                if shared[kind] != limit:
                    path = ("users", index, "downstreams", position, "limits", f"per_{kind}")
                    message = f"is {shared[kind]} elsewhere: what is counted together has one quota"
                    yield path, message


def _is_echo(root: tree.Node, detail: ErrorDetails) -> bool:
    """Whether a list counts as too short only because its items are broken, which is said anyway."""
    node, reached = root.at(tuple(detail["loc"]))
    return detail["type"] == "too_short" and reached == tuple(detail["loc"]) and bool(node.value)


def _text(node: tree.Node, key: str) -> str:
    """A key's text; `""` without one, and for anything else that stands there, which is said anyway."""
    child = node.child(key)
    return child.value if child and isinstance(child.value, str) else ""
