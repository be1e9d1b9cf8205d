"""What is a plugin, what is none and why, and what it is made with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import pytest

from smtp_router import Downstream, PluginError, hookimpl
from smtp_router.hooks.constructor import Constructor
from smtp_router.hooks.plugin import HOOKS, Validator, hook_names, target_of
from tests.support import make_giver

GIVER = make_giver()
PREAMBLE = "from smtp_router import hookimpl\n"
FUNCTION = "@hookimpl\ndef select_downstream(downstreams):\n    return downstreams[0]\n"


def module(source: str, name: str = "plugin_module") -> ModuleType:
    made = ModuleType(name)
    exec(PREAMBLE + source, made.__dict__)  # noqa: S102 - a plugin's source
    return made


def fault(found: object) -> str:
    with pytest.raises(PluginError) as caught:
        target_of("mine", found)
    assert str(caught.value) == f"mine: {caught.value.message}"
    return caught.value.message


def hooks_of(plugin: object) -> list[str]:
    return [call.hook for call in Validator().calls("mine", plugin)]


class Algorithm:
    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return downstreams[0]


# What is a plugin.


def test_the_hooks_and_their_arguments_are_those_of_the_design() -> None:
    assert dict(HOOKS) == {
        "select_downstream": ("message", "downstreams", "attempts"),
        "before_send": ("message", "downstream"),
        "after_send": ("message", "attempt"),
        "check_downstreams": ("downstreams",),
        "close": (),
    }


def test_what_instances_of_a_class_answer_is_kept_once_for_all() -> None:
    validator = Validator()
    (_,), (one,), (another,) = (validator.calls("mine", Algorithm()) for _ in range(3))
    assert one.answers is another.answers
    assert one.answers["a"] == (("mine", "select_downstream"), "a", False)
    (other,) = validator.calls("other", Algorithm())
    assert other.answers["a"] == (("other", "select_downstream"), "a", False)


def test_a_module_with_marked_functions_is_one() -> None:
    found = module(FUNCTION + "@hookimpl\nasync def after_send(): ...\n")
    assert target_of("mine", found) is found
    assert hook_names(found) == ("select_downstream", "after_send")
    assert hooks_of(found) == ["select_downstream", "after_send"]


def test_a_class_with_marked_methods_is_one() -> None:
    assert target_of("mine", Algorithm) is Algorithm
    assert hooks_of(Algorithm()) == ["select_downstream"]


def test_a_module_with_one_such_class_stands_for_it() -> None:
    found = module(
        "class Base:\n    @hookimpl\n    def before_send(self): ...\n"
        "class _Hidden(Base): ...\n"
        "class Helper: ...\n"
    )
    assert target_of("mine", found) is vars(found)["Base"]


def test_a_class_from_elsewhere_is_not_the_files_own() -> None:
    found = module("class Own:\n    @hookimpl\n    def before_send(self): ...\n")
    vars(found)["Imported"] = Algorithm
    assert target_of("mine", found) is vars(found)["Own"]


def test_marked_functions_come_before_classes() -> None:
    found = module(FUNCTION + "class A:\n    @hookimpl\n    def before_send(self): ...\n")
    assert target_of("mine", found) is found


def test_inherited_and_static_hooks_count() -> None:
    class Static(Algorithm):
        @staticmethod
        @hookimpl
        def before_send() -> None: ...

        @classmethod
        @hookimpl
        def after_send(cls) -> None: ...

    assert set(hook_names(Static)) == {"select_downstream", "before_send", "after_send"}
    assert hooks_of(Static()) == ["select_downstream", "before_send", "after_send"]


# What is none.


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(
            "",
            "has no hook: mark a function with @hookimpl "
            "(the hooks are select_downstream, before_send, after_send, "
            "check_downstreams, close)",
            id="nothing",
        ),
        pytest.param(
            "def helper(): ...",
            "has no hook: mark a function with @hookimpl "
            "(the hooks are select_downstream, before_send, after_send, "
            "check_downstreams, close)",
            id="no hook",
        ),
        pytest.param(
            "def select_downstream(downstreams): ...",
            "select_downstream is not marked: put @hookimpl above it",
            id="unmarked",
        ),
        pytest.param(
            "@hookimpl\ndef select_downstreams(downstreams): ...",
            "select_downstreams is not a hook: did you mean select_downstream?",
            id="misspelt",
        ),
        pytest.param(
            FUNCTION + "@hookimpl\ndef after_sent(): ...",
            "after_sent is not a hook: did you mean after_send?",
            id="one of two misspelt",
        ),
        pytest.param(
            "@hookimpl\ndef zzz(): ...",
            "zzz is not a hook: the hooks are select_downstream, before_send, after_send, "
            "check_downstreams, close",
            id="unknown",
        ),
        pytest.param(
            "@hookimpl(specname='before_sent')\ndef change(): ...",
            "before_sent is not a hook: did you mean before_send?",
            id="unknown by its other name",
        ),
        pytest.param(
            "class A:\n @hookimpl\n def before_send(self): ...\n"
            "class B:\n @hookimpl\n def after_send(self): ...",
            "has more than one class with hooks (A, B); one file, one plugin",
            id="two classes",
        ),
        pytest.param(
            "class A:\n @hookimpl\n def route(self): ...",
            "route is not a hook: the hooks are select_downstream, before_send, after_send, "
            "check_downstreams, close",
            id="class with an unknown hook",
        ),
    ],
)
def test_a_file_that_is_no_plugin_hears_why(source: str, message: str) -> None:
    assert fault(module(source)) == message


@pytest.mark.parametrize(
    ("found", "kind"), [(5, "int"), (Algorithm(), "Algorithm"), (len, "builtin_function_or_method")]
)
def test_neither_a_module_nor_a_class_is_no_plugin(found: object, kind: str) -> None:
    assert fault(found) == f"is neither a module nor a class, but a {kind}"


def test_a_class_without_a_hook_is_no_plugin() -> None:
    class Unmarked:
        def before_send(self) -> None: ...

    class Nothing:
        pass

    assert fault(Unmarked) == "before_send is not marked: put @hookimpl above it"
    assert fault(Nothing).startswith("has no hook: ")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "@hookimpl\ndef select_downstream(downstreams, msg): ...",
            r"hookimpl definition: select_downstream\(downstreams, msg\).*\{'msg'\}",
        ),
        (
            "@hookimpl\ndef after_send(downstream): ...",
            r"hookimpl definition: after_send\(downstream\).*\{'downstream'\}",
        ),
    ],
)
def test_an_unknown_argument_is_refused(source: str, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        Validator().calls("mine", module(source))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper"])
def test_a_marker_that_would_change_the_order_is_refused(option: str) -> None:
    generator = "\n    yield" if "wrapper" in option else " ..."
    found = module(f"@hookimpl({option}=True)\ndef before_send(message):{generator}\n")
    with pytest.raises(PluginError) as caught:
        Validator().calls("mine", found)
    assert str(caught.value) == (
        f"mine: before_send is marked {option}, but the order is the configuration's: remove it"
    )


def test_what_is_marked_and_no_function_is_refused() -> None:
    source = "class Call:\n    def __call__(self, message): ...\nbefore_send = hookimpl(Call())\n"
    with pytest.raises(PluginError) as caught:
        Validator().calls("mine", module(source))
    assert caught.value.message == "before_send is marked, but is no function: put @hookimpl on a def"


def test_one_validator_serves_many_and_forgets_each() -> None:
    validator = Validator()
    bad = module("@hookimpl\ndef before_send(nonsense): ...")
    one, other = Algorithm(), Algorithm()
    for _ in range(2):
        for plugin in (one, other):
            (call,) = validator.calls("mine", plugin)
            assert call.function.__self__ is plugin  # type: ignore[attr-defined]
        with pytest.raises(PluginError):
            validator.calls("mine", bad)


def test_plugins_that_are_equal_are_told_apart() -> None:
    @dataclass
    class Weighted(Algorithm):
        weight: int = 1

    validator = Validator()
    for plugin in (Weighted(), Weighted()):
        (call,) = validator.calls("mine", plugin)
        assert call.function.__self__ is plugin  # type: ignore[attr-defined]


class Varied(Algorithm):
    """What instances of it have differs."""

    def __init__(self, **own: object) -> None:
        self.__dict__ |= own

    @hookimpl(specname="before_send")
    def stamp(self) -> None: ...

    @classmethod
    @hookimpl
    def check_downstreams(cls) -> None: ...

    @staticmethod
    @hookimpl
    def close() -> None: ...


class Slotted(Algorithm):
    __slots__ = ("after_send",)

    def __init__(self, after_send: object = None) -> None:
        self.after_send = after_send


@hookimpl
def after_send(message: object) -> None:
    del message


@pytest.mark.parametrize(
    "plugin",
    [
        Varied(),
        Varied(state=1),
        Varied(after_send=after_send),
        Varied(later=hookimpl(specname="after_send")(lambda attempt: attempt)),
        Varied(stamp=hookimpl(specname="before_send")(lambda message: message)),
        Varied(select_downstream=Algorithm().select_downstream),
        Slotted(),
        Slotted(after_send),
    ],
)
def test_a_class_is_looked_at_once_and_yet_each_instance_has_its_own_hooks(plugin: object) -> None:
    validator = Validator()
    for earlier in (Varied(), Slotted()):
        validator.calls("mine", earlier)
    for _ in range(2):
        assert validator.calls("mine", plugin) == Validator().calls("mine", plugin)


# Options.


class Plain(Algorithm):
    pass


class Weighted(Algorithm):
    def __init__(self, weight: int, *, name: str = "x") -> None:
        self.made_with = (weight, name)
        if weight < 0:
            raise ValueError("weight is\nnegative")
        if weight == 0:
            raise KeyError("no weight")
        if weight > 100:
            raise SystemExit(weight)


class Free(Algorithm):
    def __init__(self, first: int, **rest: object) -> None:
        self.made_with = (first, rest)


@dataclass
class Data(Algorithm):
    weight: int
    name: str = "x"


def refused(target: ModuleType | type, options: Mapping[str, object]) -> tuple[str, str]:
    """Which key it was about, and what was said."""
    with pytest.raises(PluginError) as caught:
        Constructor(target).make("mine", options, GIVER)
    assert caught.value.plugin == "mine"
    return caught.value.key, caught.value.message


def test_a_module_is_its_own_plugin_and_takes_no_options() -> None:
    found = module(FUNCTION)
    assert Constructor(found).make("mine", {}, GIVER) is found
    assert refused(found, {"weight": 3}) == (
        "options.weight",
        "is not an option: this plugin is a module, which takes none",
    )


@pytest.mark.parametrize(
    ("target", "options", "made_with"),
    [
        (Weighted, {"weight": 3}, (3, "x")),
        (Weighted, {"name": "y", "weight": 3}, (3, "y")),
        (Free, {"first": 1, "second": 2}, (1, {"second": 2})),
    ],
)
def test_a_class_is_made_with_its_options(
    target: type, options: Mapping[str, object], made_with: object
) -> None:
    assert vars(Constructor(target).make("mine", options, GIVER))["made_with"] == made_with


def test_a_dataclass_is_made_with_its_options() -> None:
    assert Constructor(Data).make("mine", {"weight": 3}, GIVER) == Data(weight=3)


def test_a_class_that_says_nothing_about_its_options_is_given_them() -> None:
    class Table(dict[str, object]):
        @hookimpl
        def before_send(self) -> None: ...

    assert Constructor(Table).make("mine", {"a": 1}, GIVER) == {"a": 1}


def test_each_call_makes_another_one() -> None:
    assert Constructor(Plain).make("mine", {}, GIVER) is not Constructor(Plain).make("mine", {}, GIVER)


@pytest.mark.parametrize(
    ("target", "options", "key", "message"),
    [
        (Plain, {"weight": 3}, "options.weight", "is not an option: it takes none"),
        (Weighted, {"zzz": 3}, "options.zzz", "is not an option: it takes weight, name"),
        (Weighted, {"wieght": 3}, "options.wieght", "is not an option: did you mean weight?"),
        (Weighted, {"self": 3}, "options.self", "is not an option: it takes weight, name"),
        (Weighted, {}, "options.weight", "is missing"),
        (Weighted, {"name": "y"}, "options.weight", "is missing"),
        (Free, {"second": 2}, "options.first", "is missing"),
        (Data, {}, "options.weight", "is missing"),
        (Weighted, {"weight": -1}, "options", "refuses its options: weight is negative"),
        (Weighted, {"weight": None}, "options", "refuses its options: '<' not supported between"),
        (Weighted, {"weight": 0}, "", "failed when it was made: KeyError: 'no weight'"),
        (Weighted, {"weight": 101}, "", "failed when it was made: SystemExit: 101"),
    ],
)
def test_options_that_do_not_fit_name_their_key(
    target: type, options: Mapping[str, object], key: str, message: str
) -> None:
    said_key, said = refused(target, options)
    assert said_key == key
    assert said.startswith(message)
    assert "\n" not in said
