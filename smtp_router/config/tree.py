"""YAML as a tree that knows its lines, built from the parser's events under fixed bounds.

The stock safe loader is safe from code, not from size: 345 bytes of aliases or merge keys hang it, and
it takes the last of two equal keys without a word. Here aliases cost what they expand to, nothing nests
deeper than `MAX_DEPTH`, tags are not known, and keys are strings that come once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from smtp_router.core.errors import ConfigError, Problem

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 2_000_000
"""Ten thousand users with ten downstreams each need about half of it."""

_MAX_NUMBER_CHARS = 100
"""YAML 1.1 has numbers to base 60, as in 1:30; a long one costs its length squared."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_CONSTRUCT: Mapping[str, Callable[[yaml.ScalarNode], Any]] = MappingProxyType(
    {
        "tag:yaml.org,2002:null": _CONSTRUCTOR.construct_yaml_null,
        "tag:yaml.org,2002:bool": _CONSTRUCTOR.construct_yaml_bool,
        "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
        "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
    }
)
"""One by one, since the constructor's own entry keeps every node that it ever saw."""

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """One value of the configuration.

    Args:
        value: a scalar, a list of nodes, or a dict of nodes by key; not in the repr, as secrets are.
        line: where it starts, counted from 1.
        size: how many values it holds when all aliases are written out, itself included.
        hidden: whether its text came from outside the file (`${…}`), so that it must not be shown.
    """

    value: "Scalar | list[Node] | dict[str, Node]" = field(repr=False)
    line: int
    size: int = 1
    hidden: bool = False

    def plain(self) -> object:
        """The value without lines, as pydantic takes it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> "tuple[Node, tuple[str | int, ...]]":
        """The node at a path, or the deepest one on the way to it, and the path that led there."""
        node = self
        for depth, step in enumerate(path):
            child = _child(node.value, step)
            if child is None:
                return node, path[:depth]
            node = child
        return node, path


def parse(text: bytes, file: str) -> Node:
    """Read one YAML document.

    Args:
        text: the document, UTF-8.
        file: its name, for errors.

    Raises:
        ConfigError: not YAML, or outside the bounds above.
    """
    if len(text) > MAX_BYTES:
        message = f"is bigger than {MAX_BYTES // 2**20} MiB"
        raise ConfigError([Problem(file=file, message=message)])
    builder = _Builder(file)
    try:
        return builder.build(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(
            [Problem(file=file, line=mark.line + 1 if mark else 0, message=f"is not YAML: {what}")]
        ) from None
    except yaml.YAMLError as error:  # characters that YAML does not have
        what = " ".join(str(error).split())
        raise ConfigError([Problem(file=file, message=f"is not YAML: {what}")]) from None


class _Builder:
    """Turns events into nodes."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._anchors: dict[str, Node] = {}

    def build(self, events: Iterator[yaml.Event]) -> Node:
        self._events = events
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._error(event, "has more than one document; keep the first")
                root = self._node(next(events), 0)
        return root or Node(None, 1)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, f"*{event.anchor} stands before its &{event.anchor} ends")
            known = self._anchors[event.anchor]
            return Node(known.value, _line(event), known.size, known.hidden)
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep")
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None and not (event.tag == "!" and isinstance(event, yaml.ScalarEvent)):
            raise self._error(event, f"has a tag ({event.tag}); tags are not used here")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(_scalar(event), _line(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, start: yaml.Event, depth: int) -> Node:
        items = []
        size = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
            size = self._grown(start, size, items[-1].size)
        return Node(items, _line(start), size)

    def _mapping(self, start: yaml.Event, depth: int) -> Node:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise self._error(event, "has a key that is not plain text")
            value = self._node(next(self._events), depth + 1)
            size = self._grown(start, size, value.size)
            if event.value == "<<" and event.implicit[0]:
                for source in value.value if isinstance(value.value, list) else [value]:
                    if not isinstance(source.value, dict):
                        raise self._error(event, "has a merge key (<<) that names no mapping")
                    for key, node in source.value.items():  # the first of several sources wins
                        merged.setdefault(key, node)
            elif event.value in own:
                raise self._error(event, f"has the key {event.value!r} twice in one mapping")
            else:
                own[event.value] = value
        return Node(merged | own, _line(start), size)

    def _grown(self, start: yaml.Event, size: int, more: int) -> int:
        if size + more > MAX_VALUES:
            raise self._error(start, f"expands to more than {MAX_VALUES:,} values")
        return size + more

    def _error(self, event: yaml.Event, message: str) -> ConfigError:
        return ConfigError([Problem(file=self._file, line=_line(event), message=message)])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _child(value: "Scalar | list[Node] | dict[str, Node]", step: str | int) -> Node | None:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int):
        return value[step] if step < len(value) else None
    return None


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    """A plain scalar by YAML's rules for null, bool, int and float; everything else is text."""
    if not event.implicit[0] or len(event.value) > _MAX_NUMBER_CHARS:
        return str(event.value)
    tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
    if tag not in _CONSTRUCT:
        return str(event.value)
    try:
        value: Scalar = _CONSTRUCT[tag](yaml.ScalarNode(tag, event.value))
    except ValueError:  # digits that only look like a number
        return str(event.value)
    return value
