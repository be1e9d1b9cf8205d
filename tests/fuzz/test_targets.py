"""The targets of the fuzzer, with what hypothesis finds and with what was kept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import examples
from tests.fuzz.fuzz import CORPUS
from tests.fuzz.targets import TARGETS

KEPT = sorted(CORPUS.glob("*/*"))
TOKENS = sorted(
    {token for path in KEPT for token in path.read_bytes().replace(b"\r\n", b" \r\n ").split(b" ")}
)
ANYTHING = st.binary(max_size=200) | st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4)).map(
    b"".join
)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_holds_for_any_octets(name: str) -> None:
    @given(ANYTHING)
    @examples(80)
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_kept_holds(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_something_to_begin_with(name: str) -> None:
    assert any(path.parent.name == name for path in KEPT)
