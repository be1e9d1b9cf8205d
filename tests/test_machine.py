"""What is asked of the machine, and of the interpreter."""

import gc
from collections.abc import Iterator

import pytest

from smtp_router.machine import MANY_OBJECTS, no_collections


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.collect()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize(("objects", "frozen"), [(1, False), (MANY_OBJECTS + 1, True)])
def test_nothing_is_collected_meanwhile_and_what_is_much_is_never_looked_through(
    *, objects: int, frozen: bool
) -> None:
    before = gc.get_freeze_count()
    with no_collections():
        assert not gc.isenabled()
        made = [[] for _ in range(objects)]  # type: ignore[var-annotated]
    assert gc.isenabled()
    assert (gc.get_freeze_count() - before >= objects) is frozen
    assert len(made) == objects


def test_who_goes_without_collections_is_left_to_that() -> None:
    gc.disable()
    before = gc.get_freeze_count()
    with no_collections():
        made = [[] for _ in range(MANY_OBJECTS + 1)]  # type: ignore[var-annotated]
    assert not gc.isenabled()
    assert gc.get_freeze_count() == before
    del made
