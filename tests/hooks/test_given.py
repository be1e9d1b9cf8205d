"""What a constructor gets beside its options, and how it asks for it."""

import random
from types import ModuleType

import pytest

from smtp_router import Clock, PluginError, hookimpl
from smtp_router.hooks.constructor import Constructor
from smtp_router.hooks.registry import Registry
from tests.support import VirtualClock, make_giver


def made(source: str, **options: object) -> dict[str, object]:
    """The attributes of the class in this source, made with these options."""
    module = ModuleType("plugin_module")
    exec(source, module.__dict__)  # noqa: S102 - a plugin's source
    return vars(Constructor(module.Plugin).make("mine", options, make_giver(VirtualClock())))


HEAD = "import random\nimport smtp_router\nfrom smtp_router import Algorithms, Clock, hookimpl\n"
BODY = """
class Plugin:
    def __init__(self, weight: int = 1, *, {asks}) -> None:
        self.found = found

    @hookimpl
    def after_send(self): ...
"""


@pytest.mark.parametrize(
    "asks",
    [
        "found: Clock",
        "found: smtp_router.Clock",
        "found: 'Clock'",
        "found: Clock | None = None",
        "found: 'smtp_router.Clock | None' = None",
    ],
)
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_a_clock_is_given_to_whoever_asks_for_one(asks: str, future: str) -> None:
    assert isinstance(made(future + HEAD + BODY.format(asks=asks))["found"], VirtualClock)


def test_what_only_a_type_checker_imports_is_known_by_its_name() -> None:
    source = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "from smtp_router import hookimpl\nif TYPE_CHECKING:\n    from smtp_router import Clock\n"
    )
    assert isinstance(made(source + BODY.format(asks="found: Clock"))["found"], VirtualClock)


def test_chance_and_algorithms_are_given_as_well() -> None:
    assert isinstance(made(HEAD + BODY.format(asks="found: random.Random"))["found"], random.Random)
    found = made(HEAD + BODY.format(asks="found: Algorithms"))["found"]
    assert callable(getattr(found, "make", None))


@pytest.mark.parametrize("asks", ["found: list[Clock] = 3", "found: int = 3", "found=3"])
def test_nothing_else_is_given(asks: str) -> None:
    assert made(HEAD + BODY.format(asks=asks))["found"] == 3


def test_what_is_given_is_no_option() -> None:
    with pytest.raises(PluginError) as caught:
        made(HEAD + BODY.format(asks="found: Clock"), found=3)
    assert caught.value.key == "options.found"
    assert caught.value.message == "is not an option: the router gives it"
    with pytest.raises(PluginError, match="did you mean weight"):
        made(HEAD + BODY.format(asks="found: Clock"), wieght=3)


def test_a_seed_repeats_what_plugins_draw_and_each_has_its_own() -> None:
    first, second = Registry(seed=7), Registry(seed=7)
    assert [first.rng().random(), first.rng().random()] == [second.rng().random(), second.rng().random()]
    assert first.rng().random() != first.rng().random()
    assert Registry().rng().random() != Registry().rng().random()


class TakesTime:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @hookimpl
    def after_send(self) -> None: ...


def test_a_class_that_needs_no_options_is_made_without_any() -> None:
    assert isinstance(Constructor(TakesTime).make("mine", {}, make_giver()), TakesTime)
