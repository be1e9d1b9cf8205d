"""Algorithms within algorithms: made by the one around them, asked by it, told like any other plugin."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Defer, PluginError
from smtp_router.core.trace import Trace
from smtp_router.hooks.plugin import Plugin, chains, families
from smtp_router.hooks.registry import Registry
from tests.support import delivered, make_attempt, make_downstream, make_message

OUTER = """\
from smtp_router import hookimpl, note

class Outer:
    def __init__(self, inner, other=None, *, algorithms: "Algorithms"):
        self.inner = algorithms.make(inner, at="inner")
        self.other = algorithms.make(other, at="other") if other else None
        self.algorithms = algorithms

    @hookimpl
    def select_downstream(self, message, downstreams, attempts):
        note("outer asks")
        return self.inner.select_downstream(message, downstreams[1:], attempts)
"""
LAST = """\
from smtp_router import hookimpl, note

class Last:
    def __init__(self, weight=1):
        if weight < 0:
            raise ValueError("weight must not be negative")
        self.told = []

    @hookimpl
    {d} select_downstream(self, downstreams):
        note("inner thinks")
        {body}

    @hookimpl
    def after_send(self, attempt):
        self.told.append(attempt.downstream.name)
"""
MODULE = "from smtp_router import hookimpl\n@hookimpl\ndef after_send(): ...\n"

OFFERED = (make_downstream("a"), make_downstream("b"), make_downstream("c"))


def last(body: str = "return downstreams[-1]", d: str = "def") -> str:
    return LAST.format(d=d, body=body)


class Folder:
    """Plugin files, and a registry that finds them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = Registry()
        self.write("outer.py", OUTER)
        self.write("last.py", last())

    def write(self, name: str, source: str) -> None:
        (self.path / name).write_text(source)

    def make(self, name: str = "./outer.py", previous: Plugin | None = None, **options: Any) -> Plugin:  # noqa: ANN401
        return self.registry.make(self.registry.find(name, self.path), options, previous)

    def fault(self, **options: Any) -> tuple[str, str, str]:  # noqa: ANN401
        with pytest.raises(PluginError) as caught:
            self.make(**options)
        return caught.value.plugin, caught.value.key, caught.value.message


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def ask(plugin: Plugin, trace: Trace | None = None) -> str | None:
    message = make_message()
    chosen = await chains((plugin,), 1).select_downstream(message, OFFERED, (), trace=trace)
    return chosen.name if chosen else None


# Asking.


@pytest.mark.parametrize("d", ["def", "async def"])
async def test_the_answer_of_the_inner_one_is_the_answer(folder: Folder, d: str) -> None:
    folder.write("last.py", last(d=d))
    assert await ask(folder.make(inner="./last.py")) == "c"


@pytest.mark.parametrize("d", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "./last.py: select_downstream raised ZeroDivisionError"),
        ("raise PluginError('x', 'secret')", "./last.py: select_downstream raised PluginError"),
        (
            "return downstreams[0].name",
            "./last.py: select_downstream returned a str, which was not offered (offered: b, c)",
        ),
    ],
)
async def test_what_the_inner_one_does_wrong_names_both(
    folder: Folder, d: str, body: str, message: str
) -> None:
    folder.write("last.py", "from smtp_router import PluginError\n" + last(body, d))
    with pytest.raises(PluginError) as caught:
        await ask(folder.make(inner="./last.py"))
    assert str(caught.value) == f"./outer.py: select_downstream failed: {message}"


@pytest.mark.parametrize("d", ["def", "async def"])
async def test_a_refusal_of_the_inner_one_is_one(folder: Folder, d: str) -> None:
    folder.write("last.py", "from smtp_router import Defer\n" + last("raise Defer('later')", d))
    with pytest.raises(Defer, match="later"):
        await ask(folder.make(inner="./last.py"))


async def test_one_that_only_may_choose_from_some_chooses_from_these(folder: Folder) -> None:
    folder.write("last.py", last("return downstreams[0]"))
    assert await ask(folder.make(inner="./last.py")) == "b"


async def test_an_inner_one_has_no_more_time_than_the_outer_one(folder: Folder) -> None:
    folder.write("last.py", "import asyncio\n" + last("await asyncio.Event().wait()", "async def"))
    plugin = folder.make(inner="./last.py")
    with pytest.raises(PluginError, match="took too long"):
        await chains((plugin,), 0.01).select_downstream(make_message(), OFFERED, ())


async def test_what_each_says_is_in_the_trace_under_its_name(folder: Folder) -> None:
    for d in ("def", "async def"):
        folder.write("last.py", last(d=d))
        trace = Trace(make_message())
        trace.begin(OFFERED, ())
        await ask(folder.make(inner="./last.py"), trace)
        assert [(who[0], text, is_note) for who, text, is_note in trace.rounds[0].words] == [
            ("./outer.py", "outer asks", True),
            ("./last.py", "inner thinks", True),
            ("./last.py", "c", False),
            ("./outer.py", "c", False),
        ]


async def test_two_messages_at_once_have_a_trace_each(folder: Folder) -> None:
    slow = "import asyncio\n" + last("await asyncio.sleep(0); return downstreams[0]", "async def")
    folder.write("last.py", slow)
    plugin = folder.make(inner="./last.py")
    traces = [Trace(make_message()) for _ in "ab"]
    for trace in traces:
        trace.begin(OFFERED, ())
    await asyncio.gather(*(ask(plugin, trace) for trace in traces))
    assert [len(trace.rounds[0].words) for trace in traces] == [4, 4]


# Its other hooks.


async def test_the_inner_one_is_told_of_attempts_once_and_never_asked_by_the_router(
    folder: Folder,
) -> None:
    plugin = folder.make(inner="./last.py", other="./last.py")
    compiled = chains((plugin,), 1)
    assert [call.plugin for call in compiled.select] == ["./outer.py"]
    await compiled.after_send(make_message(), make_attempt("b", delivered()))
    told = [vars(one.calls[0].function.__self__)["told"] for one in plugin.nested]  # type: ignore[attr-defined]
    assert told == [["b"], ["b"]]


def test_a_module_that_is_nested_twice_is_told_once(folder: Folder) -> None:
    folder.write("last.py", MODULE + "@hookimpl\ndef select_downstream(downstreams): ...\n")
    plugin = folder.make(inner="./last.py", other="./last.py")
    assert len(chains((plugin,), 1).after) == 1


def test_those_inside_come_before_the_one_around_them(folder: Folder) -> None:
    nested = {"use": "./outer.py", "options": {"inner": "./last.py"}}
    names = [plugin.name for plugin in families((folder.make(inner=nested),))]
    assert names == ["./last.py", "./outer.py", "./outer.py"]


# Making.


@pytest.mark.parametrize(
    ("inner", "plugin", "key", "message"),
    [
        ("", "./outer.py", "options.inner", "must be an algorithm's name or path, or {use: NAME, …"),
        (3, "./outer.py", "options.inner", "must be an algorithm's name or path, or {use: NAME, …"),
        ({"options": {}}, "./outer.py", "options.inner", "must be an algorithm's name or path, or …"),
        ({"use": ["a"]}, "./outer.py", "options.inner", "must be an algorithm's name or path, or {u…"),
        ({"use": "x", "option": {}}, "./outer.py", "options.inner.option", "is not known here: an …"),
        ({"use": "x", "options": 3}, "./outer.py", "options.inner.options", "must be a mapping"),
        ("nowhere", "nowhere", "options.inner", "is not installed (installed: …"),
        ("./nowhere.py", "./nowhere.py", "options.inner", "cannot be read: No such file …"),
        ("./stamp.py", "./stamp.py", "options.inner", "is no algorithm: it has no select_downstream …"),
        (
            {"use": "./last.py", "options": {"wieght": 1}},
            "./last.py",
            "options.inner.options.wieght",
            "is not an option: did you mean weight?",
        ),
        (
            {"use": "./last.py", "options": {"weight": -1}},
            "./last.py",
            "options.inner.options",
            "refuses its options: weight must not be negative",
        ),
        (
            {"use": "./outer.py", "options": {"inner": "./nowhere.py"}},
            "./nowhere.py",
            "options.inner.options.inner",
            "cannot be read: No such file …",
        ),
    ],
)
def test_what_cannot_be_made_names_the_option(
    folder: Folder, inner: object, plugin: str, key: str, message: str
) -> None:
    folder.write("stamp.py", MODULE)
    found = folder.fault(inner=inner)
    assert found[:2] == (plugin, key)
    assert found[2].startswith(message.removesuffix("…"))


def test_a_constructor_that_raises_an_error_of_ours_names_its_options(folder: Folder) -> None:
    source = last().replace("self.told = []", "raise PluginError('x', 'no')")
    folder.write("last.py", "from smtp_router import PluginError\n" + source)
    with pytest.raises(PluginError) as caught:
        folder.make("./last.py")
    assert caught.value.key == "options"


def test_one_that_contains_itself_is_told_so(folder: Folder) -> None:
    folder.write(
        "outer.py",
        "from smtp_router import Algorithms, hookimpl\nclass Outer:\n"
        " def __init__(self, inner, algorithms: Algorithms):\n"
        "  algorithms.make({'use': './outer.py', 'options': {'inner': 1}}, at='inner')\n"
        " @hookimpl\n def select_downstream(self): ...\n",
    )
    assert "is nested more than 10 deep; does it contain itself?" in folder.fault(inner=1)[2]


async def test_only_a_constructor_makes_others(folder: Folder) -> None:
    plugin = folder.make(inner="./last.py")
    outer = plugin.calls[0].function.__self__  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="only its constructor may"):
        outer.algorithms.make("./last.py", at="inner")


# Reloading.


def test_what_has_not_changed_is_kept_with_those_inside(folder: Folder) -> None:
    options: dict[str, Any] = {"inner": "./last.py"}
    before = folder.make(**options)
    assert folder.make(previous=before, **options) is before


def test_a_change_inside_makes_the_one_around_it_anew(folder: Folder) -> None:
    before = folder.make(inner="./last.py")
    folder.write("last.py", last("return downstreams[0]"))
    assert folder.make(previous=before, inner="./last.py") is not before
