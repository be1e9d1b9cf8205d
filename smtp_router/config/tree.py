"""YAML as a tree that knows its lines, built from the parser's events under fixed bounds.

The stock safe loader is safe from code, not from size: 345 bytes of aliases or merge keys hang it, and
it takes the last of two equal keys without a word. Here aliases cost what they expand to, nothing nests
deeper than `MAX_DEPTH`, tags are not known, and keys are strings that come once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from smtp_router.core.errors import ConfigError, Problem

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 2_000_000
"""Ten thousand users with ten downstreams each need about half of it."""

_MAX_TEXTS = 1000
"""So many texts are remembered: what comes often comes early."""
_MAX_NUMBER_CHARS = 100
"""YAML 1.1 has numbers to base 60, as in 1:30; a long one costs its length squared."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = yaml.resolver.Resolver()
_NOT_ALWAYS_TEXT = frozenset(_RESOLVER.yaml_implicit_resolvers)
"""What a plain scalar that is no text begins with: digits, `-`, the `t` of `true`, nothing, and more."""
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

    It takes 48 bytes, as no text does: so Python's allocator has the memory of a tree back when that is
    gone, where with 64 bytes the texts that stay would keep 10 MB of ten thousand users' tree.

    Args:
        value: a scalar, a list of nodes, or a dict of nodes by key; not in the repr, as secrets are.
        line: where it starts, counted from 1.
    """

    value: "Scalar | list[Node] | dict[str, Node]" = field(repr=False)
    line: int

    def plain(self) -> object:
        """The value without lines, as pydantic takes it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str) -> "Node | None":
        """What stands at a key, if this is a mapping that has it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def entries(self, key: str) -> "list[tuple[int, Node]]":
        """The list at a key, with positions; without one, nothing."""
        child = self.child(key)
        return list(enumerate(child.value)) if child and isinstance(child.value, list) else []

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
    loader = None
    try:
        loader = _Loader(text)
        return _Builder(file, loader.get_event).build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(
            [Problem(file=file, line=mark.line + 1 if mark else 0, message=f"is not YAML: {what}")]
        ) from None
    except yaml.YAMLError as error:  # characters that YAML does not have
        what = " ".join(str(error).split())
        raise ConfigError([Problem(file=file, message=f"is not YAML: {what}")]) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Builder:
    """Turns events into nodes.

    There are a quarter of a million of them for ten thousand users, so events are told apart by their
    class itself, most frequent first, and equal texts are kept once: half the time, and a fifth of the
    memory.
    """

    def __init__(self, file: str, next_event: Callable[[], Any]) -> None:
        self._file = file
        self._next = next_event
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._size = 0
        """How many values the last node holds when all aliases are written out, itself included."""
        self._texts: dict[str, str] = {}

    def build(self) -> Node:
        root: Node | None = None
        while (event := self._next()).__class__ is not yaml.StreamEndEvent:
            if event.__class__ is yaml.DocumentStartEvent:
                if root is not None:
                    raise self._error(event, "has more than one document; keep the first")
                root = self._node(self._next(), 0)
        return root or Node(None, 1)

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - its class says which
        kind = event.__class__
        if kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                raise self._error(event, f"*{event.anchor} stands before its &{event.anchor} ends")
            known, self._size = self._anchors[event.anchor]
            return Node(known.value, _line(event))
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep")
        if event.tag is not None and not (event.tag == "!" and kind is yaml.ScalarEvent):
            raise self._error(event, f"has a tag ({event.tag}); tags are not used here")
        if kind is yaml.ScalarEvent:
            value = _scalar(event.value, event.implicit)
            node = Node(self._once(value) if value.__class__ is str else value, _line(event))
            self._size = 1
        elif kind is yaml.SequenceStartEvent:
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node, self._size
        return node

    def _once(self, text: str) -> str:
        known = self._texts.get(text)
        if known is None:
            if len(self._texts) < _MAX_TEXTS:
                self._texts[text] = text
            return text
        return known

    def _sequence(self, start: yaml.Event, depth: int) -> Node:
        items = []
        size = 1
        while (event := self._next()).__class__ is not yaml.SequenceEndEvent:
            items.append(self._node(event, depth + 1))
            size = self._grown(start, size)
        self._size = size
        return Node(items, _line(start))

    def _mapping(self, start: yaml.Event, depth: int) -> Node:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        size = 1
        while (event := self._next()).__class__ is not yaml.MappingEndEvent:
            if event.__class__ is not yaml.ScalarEvent or event.tag is not None:
                raise self._error(event, "has a key that is not plain text")
            value = self._node(self._next(), depth + 1)
            size = self._grown(start, size)
            if event.value == "<<" and event.implicit[0]:
                for source in value.value if isinstance(value.value, list) else [value]:
                    if not isinstance(source.value, dict):
                        raise self._error(event, "has a merge key (<<) that names no mapping")
                    for key, node in source.value.items():  # the first of several sources wins
                        merged.setdefault(key, node)
            elif event.value in own:
                raise self._error(event, f"has the key {event.value!r} twice in one mapping")
            else:
                own[self._once(event.value)] = value
        self._size = size
        return Node(merged | own if merged else own, _line(start))

    def _grown(self, start: yaml.Event, size: int) -> int:
        """The size of a collection with one node more, the last one."""
        size += self._size
        if size > MAX_VALUES:
            raise self._error(start, f"expands to more than {MAX_VALUES:,} values")
        return size

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


def _scalar(text: str, implicit: tuple[bool, bool]) -> Scalar:
    """A plain scalar by YAML's rules for null, bool, int and float; everything else is text."""
    if not implicit[0] or text[:1] not in _NOT_ALWAYS_TEXT or len(text) > _MAX_NUMBER_CHARS:
        return text
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, implicit)  # type: ignore[no-untyped-call]
    if tag not in _CONSTRUCT:
        return text
    try:
        value: Scalar = _CONSTRUCT[tag](yaml.ScalarNode(tag, text))
    except ValueError:  # digits that only look like a number
        return text
    return value
