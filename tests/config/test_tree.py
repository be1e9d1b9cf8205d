"""YAML under bounds: what it reads, and what it refuses before it costs anything."""

import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import ConfigError
from smtp_router.config.tree import MAX_BYTES, MAX_DEPTH, parse


def read(text: str | bytes) -> object:
    return parse(text.encode() if isinstance(text, str) else text, "c.yaml").plain()


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("a", "a"),
        ("a: 1", {"a": 1}),
        ("a: '1'", {"a": "1"}),
        ("a: 0x1f", {"a": 31}),
        ("a: -1.5", {"a": -1.5}),
        ("a: .inf", {"a": math.inf}),
        ("a: true\nb: no", {"a": True, "b": False}),
        ("a: ~\nb:", {"a": None, "b": None}),
        ("a: 2026-02-03", {"a": "2026-02-03"}),
        ("a: 12:30", {"a": 750}),
        ("a: =", {"a": "="}),
        ("a: 0x_", {"a": "0x_"}),
        ("a: '<<'", {"a": "<<"}),
        ("1: a\ntrue: b\n~: c", {"1": "a", "true": "b", "~": "c"}),
        ("a: [1, [2]]", {"a": [1, [2]]}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: &x [1]\nb: *x\nc: *x", {"a": [1], "b": [1], "c": [1]}),
        ("a: &x 1\nb: *x", {"a": 1, "b": 1}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: grüße", {"a": "grüße"}),
    ],
)
def test_plain_yaml_is_read(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", {"a": 1, "b": 3}),
        ("x: &x {a: 1, b: 2}\ny: {b: 3, <<: *x}", {"a": 1, "b": 3}),
        ("x: &x {a: 1}\ny: {<<: [*x, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("y: {<<: {a: 1}, <<: {a: 2, b: 2}}", {"a": 1, "b": 2}),
        ("y: {<<: []}", {}),
        ("y: {'<<': {a: 1}}", {"<<": {"a": 1}}),
    ],
)
def test_a_merge_key_gives_what_the_mapping_has_not_itself(text: str, value: object) -> None:
    merged = read(text)
    assert isinstance(merged, dict)
    assert merged["y"] == value


simple = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=10)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcdefgh", min_size=1), simple))
def test_what_yaml_writes_is_read_as_it_was(value: dict[str, object]) -> None:
    assert read(yaml.safe_dump(value)) == value


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    | st.text("ab: \n-[]{}&*<>!?|'\"#,%@0159.~x", max_size=60).map(str.encode)
)
def test_no_text_raises_anything_but_a_config_error(text: bytes) -> None:
    with contextlib.suppress(ConfigError):
        read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1}", "c.yaml:1: is not YAML: while parsing a flow sequence "),
        ("a: 1\n\tb: 2", "c.yaml:2: is not YAML: "),
        ("a: b: c", "c.yaml:1: is not YAML: mapping values are not allowed in this context"),
        ("a: *x", "c.yaml:1: *x stands before its &x ends"),
        ("\na: &x [*x]", "c.yaml:2: *x stands before its &x ends"),
        ("&x a: 1\nb: *x", "c.yaml:2: *x stands before its &x ends"),
        ("a: 1\nb: 2\na: 3", "c.yaml:3: has the key 'a' twice in one mapping"),
        ("a: {b: 1, 'b': 2}", "c.yaml:1: has the key 'b' twice in one mapping"),
        ("a: 1\n---\nb: 2", "c.yaml:2: has more than one document; keep the first"),
        ("? [a]\n: 1", "c.yaml:1: has a key that is not plain text"),
        ("? {a: 1}\n: 1", "c.yaml:1: has a key that is not plain text"),
        ("a: &x b\n*x : 1", "c.yaml:2: has a key that is not plain text"),
        ("!!str a: 1", "c.yaml:1: has a key that is not plain text"),
        ("a: {<<: 1}", "c.yaml:1: has a merge key (<<) that names no mapping"),
        ("a: {<<: [1]}", "c.yaml:1: has a merge key (<<) that names no mapping"),
        ("a: !!str 1", "c.yaml:1: has a tag (tag:yaml.org,2002:str); tags are not used here"),
        (
            "a: !!python/name:os.system x",
            "c.yaml:1: has a tag (tag:yaml.org,2002:python/name:os.system)",
        ),
        ("!!python/object/apply:os.system ['true']", "c.yaml:1: has a tag ("),
        ("a: !!binary aGk=", "c.yaml:1: has a tag (tag:yaml.org,2002:binary)"),
        ("a: !x {b: 1}", "c.yaml:1: has a tag (!x); tags are not used here"),
        ("a: ! [1]", "c.yaml:1: has a tag (!); tags are not used here"),
        ("a: \0", "c.yaml: is not YAML: unacceptable character"),
        (b"a: \xff", "c.yaml: is not YAML: "),
        ('a: "\\ud800"', "c.yaml:1: is not YAML: "),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_refusal_is_one_line() -> None:
    assert "\n" not in refusal("a: [1\nb: {")
    assert "\n" not in refusal("a: \0")


def test_lines_are_known_everywhere() -> None:
    root = parse(b"a: 1\nb:\n  - x\n  - c: y\n", "c.yaml")
    lines = {path: root.at(path)[0].line for path in [(), ("a",), ("b",), ("b", 0), ("b", 1, "c")]}
    assert lines == {(): 1, ("a",): 1, ("b",): 3, ("b", 0): 3, ("b", 1, "c"): 4}


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        (("b", 1, "c"), ("b", 1, "c")),
        (("b", 1, "d"), ("b", 1)),
        (("b", 7), ("b",)),
        (("b", "x"), ("b",)),
        (("a", "x", "y"), ("a",)),
        (("z",), ()),
    ],
)
def test_a_path_leads_as_far_as_there_are_nodes(
    path: tuple[str | int, ...], reached: tuple[str | int, ...]
) -> None:
    root = parse(b"a: 1\nb:\n  - x\n  - c: y\n", "c.yaml")
    assert root.at(path)[1] == reached


# Bombs. Each of them is refused, or read, in a moment; pytest's own limit is the judge.


def levels(first: str, each: str, count: int = 30) -> str:
    """`first` under the anchor a0, then one anchor per level made of the one before it."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {each.replace('*', f'*a{n - 1}')}" for n in range(1, count)]
    return "\n".join(lines)


BOMBS = {
    "aliases": levels("[x]", "[*, *, *, *, *, *, *, *, *]"),
    "aliases of mappings": levels("{k: v}", "{a: *, b: *, c: *, d: *, e: *, f: *}"),
    "merge keys": levels("{k: v}", "{<<: [*, *, *, *, *, *, *, *]}"),
    "merge keys, one by one": levels("{k: v}", "{<<: *, a: {<<: *}, b: {<<: *}, c: {<<: *}}"),
    "long list of aliases": "a: &a [" + "x," * 2_000 + "]\nb: [" + "*a," * 2_000 + "]",
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_what_expands_beyond_reason_is_refused(text: str) -> None:
    assert refusal(text).endswith("expands to more than 2,000,000 values")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: 1" + ":1" * 500_000, id="a number to base 60"),
        pytest.param("a: 1" + ":1" * 500_000 + ".5", id="a fraction to base 60"),
        pytest.param("a: " + "9" * 1_000_000, id="a long number"),
        pytest.param("a: " + "1_" * 500_000, id="underscores"),
        pytest.param("a: {<<: [" + "".join(f"{{k{n}: 1}}," for n in range(20_000)) + "]}", id="merges"),
        pytest.param("a: '" + "x\n\n" * 300_000 + "'", id="folded lines"),
    ],
)
def test_what_is_only_long_is_read_in_time_that_is_its_length(text: str) -> None:
    read(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("{a: ", "}")], ids=["sequences", "mappings"]
)
def test_nothing_nests_deeper_than_the_bound(opening: str, closing: str) -> None:
    assert read(opening * MAX_DEPTH + closing * MAX_DEPTH)
    too_deep = MAX_DEPTH + 2
    assert refusal(opening * too_deep + closing * too_deep) == (
        f"c.yaml:1: is nested more than {MAX_DEPTH} deep"
    )
    assert "nested more than" in refusal(opening * 400_000)


def test_ten_mib_are_the_limit() -> None:
    text = b"a: 1 #".ljust(MAX_BYTES, b"x")
    assert read(text) == {"a": 1}
    assert refusal(text + b"x") == "c.yaml: is bigger than 10 MiB"
