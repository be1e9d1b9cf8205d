"""What an epoch is built of, what keeps it from being built, and what the next one takes over."""

from pathlib import Path
from typing import Any

import pytest

from smtp_router import ConfigError
from smtp_router.config.load import InvalidConfigError, load
from smtp_router.core.decision import Limits
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import Epoch, Offer, build
from tests.routing.bench import FIRST, Bench, rest
from tests.support import USER, config_text, deferred, make_attempt, unreachable, user_config

COUNTING = """\
from smtp_router import hookimpl

class Counting:
    def __init__(self, start=0):
        self.count = start

    @hookimpl
    def select_downstream(self, downstreams):
        self.count += 1
        return downstreams[0]
"""

ONLY_STAMP = "from smtp_router import hookimpl\n\n@hookimpl\ndef before_send(): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "algorithm.py", COUNTING)
    write(tmp_path / "first.py", FIRST)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def built(
    folder: Path, text: str, registry: Registry | None = None, previous: Epoch | None = None
) -> Epoch:
    write(folder / "config.yaml", text)
    return build(load(folder / "config.yaml", environ={}), registry or Registry(), previous)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        built(folder, text)
    return [str(problem).removeprefix(f"{folder}/config.yaml:") for problem in caught.value.problems]


def instance(epoch: Epoch, user: str = USER, position: int = -1) -> Any:  # noqa: ANN401 - any plugin
    function: Any = epoch.routes[user].plugins[position].calls[0].function
    return function.__self__


def names(offer: Offer) -> list[str]:
    return [downstream.name for downstream in offer[0]]


# Building.


def test_an_epoch_has_a_route_for_each_user(folder: Path) -> None:
    epoch = built(folder, config_text(user_config(email="a"), user_config(email="b")))
    assert epoch.number == 1
    assert list(epoch.routes) == ["a", "b"]
    assert epoch.settings is epoch.loaded.settings
    route = epoch.routes["a"]
    assert list(route.targets) == ["a", "b"]
    assert [plugin.name for plugin in route.plugins] == ["./algorithm.py"]
    assert route.chains.timeout_s == epoch.settings.hook_timeout_s


def test_plugins_come_in_order_and_the_algorithm_last(folder: Path) -> None:
    plugins = ["./first.py", {"use": "./algorithm.py", "options": {"start": 5}}, "./first.py"]
    route = built(folder, config_text(plugins=plugins)).routes[USER]
    assert [call.plugin for call in route.chains.select] == [
        "./first.py",
        "./algorithm.py",
        "./first.py",
        "./algorithm.py",
    ]
    assert [file.path.name for file in route.files] == ["first.py", "algorithm.py"]


def test_what_cannot_be_changed(folder: Path) -> None:
    epoch = built(folder, config_text())
    with pytest.raises(TypeError):
        epoch.routes["x"] = epoch.routes[USER]  # type: ignore[index]
    with pytest.raises(TypeError):
        epoch.routes[USER].targets["x"] = epoch.routes[USER].targets["a"]  # type: ignore[index]


def test_a_class_is_made_for_each_user(folder: Path) -> None:
    epoch = built(folder, config_text(user_config(email="a"), user_config(email="b")))
    assert instance(epoch, "a") is not instance(epoch, "b")


def test_a_route_knows_how_far_to_go(folder: Path) -> None:
    text = config_text(user_config(in_doubt="accept"), settings={"deadline_s": 9})
    limits = built(folder, text).routes[USER].limits
    assert limits == Limits(deadline=9, downstreams=2, accepts_in_doubt=True)


def test_what_was_tried_is_not_offered(folder: Path) -> None:
    route = built(folder, config_text()).routes[USER]
    assert names(route.offer([], now=0)) == ["a", "b"]
    assert names(route.offer([make_attempt("a", deferred())], now=0)) == ["b"]
    assert names(route.offer([make_attempt(name, deferred()) for name in "ab"], now=0)) == []


def test_those_that_rest_are_offered_only_if_all_do_least_recently_failed_first(folder: Path) -> None:
    route = built(folder, config_text(downstreams={n: f"{n}.example:25" for n in "abc"})).routes[USER]
    assert not route.offer([], now=0)[1]
    rest(route.targets["a"].gauge, now=2.0)
    rest(route.targets["b"].gauge, now=1.0)
    assert (names(route.offer([], now=2)), *route.offer([], now=2)[1:]) == (["c"], False, 3)
    rest(route.targets["c"].gauge, now=3.0)
    assert (names(route.offer([], now=3)), *route.offer([], now=3)[1:]) == (["b", "a", "c"], True, 3)
    tried = [make_attempt("b", unreachable())]
    assert names(route.offer(tried, now=3)) == ["a", "c"]
    assert names(route.offer([], now=6.5)) == ["b"]
    assert names(route.offer([], now=8)) == ["a", "b", "c"]


def test_when_all_rest_one_that_asked_for_it_counts_as_failed_then(folder: Path) -> None:
    route = built(folder, config_text()).routes[USER]
    route.targets["a"].rest.ask(3600, now=2.0)
    rest(route.targets["b"].gauge, now=1.0)
    assert names(route.offer([], now=2)) == ["b", "a"]
    rest(route.targets["b"].gauge, now=3.0)
    assert names(route.offer([], now=3)) == ["a", "b"]


def test_a_relative_path_starts_from_the_configurations_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "config.yaml", config_text())
    monkeypatch.chdir(folder.parent)
    relative = Path(folder.name) / "config.yaml"
    route = build(load(relative), Registry()).routes[USER]
    assert [file.path for file in route.files] == [folder / "algorithm.py"]


# What keeps it from being built.


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "not installed": (
        {"algorithm": "no_such_algorithm_anywhere"},
        "algorithm",
        "no_such_algorithm_anywhere: is not installed (installed: ",
    ),
    "no file": (
        {"algorithm": "./none.py"},
        "algorithm",
        "./none.py: cannot be read: No such file or directory ({folder}/none.py)",
    ),
    "syntax error": (
        {"algorithm": "./syntax.py"},
        "algorithm",
        "./syntax.py: syntax error: '(' was never closed ({folder}/syntax.py:2)",
    ),
    "exception at import": (
        {"algorithm": "./raises.py"},
        "algorithm",
        "./raises.py: failed on import: ZeroDivisionError: division by zero ({folder}/raises.py:3)",
    ),
    "no hook": (
        {"algorithm": "./empty.py"},
        "algorithm",
        "./empty.py: has no hook: mark a function with @hookimpl ",
    ),
    "no algorithm": (
        {"algorithm": "./stamp.py"},
        "algorithm",
        "./stamp.py: is no algorithm: it has no select_downstream hook",
    ),
    "plugin": (
        {"plugins": ["./first.py", "./none.py"]},
        "plugins[1]",
        "./none.py: cannot be read: No such file or directory ({folder}/none.py)",
    ),
    "unknown option": (
        {"algorithm": {"use": "./algorithm.py", "options": {"begin": 5}}},
        "algorithm.options.begin",
        "./algorithm.py: is not an option: it takes start",
    ),
    "option of a module": (
        {"algorithm": {"use": "./first.py", "options": {"x": 5}}},
        "algorithm.options.x",
        "./first.py: is not an option: this plugin is a module, which takes none",
    ),
    "missing option": (
        {"algorithm": "./weighted.py"},
        "algorithm.options.weight",
        "./weighted.py: is missing",
    ),
    "refused option": (
        {"algorithm": {"use": "./weighted.py", "options": {"weight": -1}}},
        "algorithm.options",
        "./weighted.py: refuses its options: weight is negative",
    ),
}


@pytest.mark.parametrize(("user", "key", "message"), BROKEN.values(), ids=BROKEN)
def test_a_plugin_that_cannot_be_used_is_said_with_its_key(
    folder: Path, user: dict[str, Any], key: str, message: str
) -> None:
    refusing = "if weight < 0: raise ValueError('weight is negative')"
    weighted = COUNTING.replace("start=0", "weight").replace("self.count = start", refusing)
    write(folder / "weighted.py", weighted)
    write(folder / "syntax.py", "x = 1\ny = (\n")
    write(folder / "raises.py", "x = 1\n\n1 / 0\n")
    write(folder / "empty.py", "")
    write(folder / "stamp.py", ONLY_STAMP)
    (said,) = problems(folder, config_text(**user))
    assert said.partition(": ")[2].startswith(f"users[0].{key}: {message.format(folder=folder)}")


def test_the_line_is_that_of_the_key(folder: Path) -> None:
    write(folder / "stamp.py", ONLY_STAMP)
    text = """\
users:
  - email: a@b
    password: p
    algorithm:
      use: ./algorithm.py
      options:
        start: 1
        begin: 2
    plugins:
      - ./first.py
      - ./none.py
    downstreams: [{addr: "h:25"}]
  - email: c@d
    password: p
    selector_algo_path: ./stamp.py
    downstreams: [{addr: "h:25"}]
"""
    assert [line.split(": ./")[0] for line in problems(folder, text)] == [
        "11: users[0].plugins[1]",
        "8: users[0].algorithm.options.begin",
        "15: users[1].algorithm",
    ]


def test_a_plugin_that_others_may_write_is_refused_unless_allowed(folder: Path) -> None:
    (folder / "algorithm.py").chmod(0o666)
    (problem,) = problems(folder, config_text())
    assert problem.endswith(
        f"users[0].algorithm: ./algorithm.py: other users may write {folder}/algorithm.py "
        "(chmod go-w, or chown it to this user); allow_writable_plugins: true lifts this"
    )
    assert built(folder, config_text(settings={"allow_writable_plugins": True})).routes


def test_all_plugins_are_checked_also_those_of_users_behind_a_broken_one(folder: Path) -> None:
    text = config_text(
        user_config(email="a", algorithm="./none.py"),
        user_config(email="b", algorithm="./first.py"),
        user_config(email="c", algorithm="./nil.py", plugins=["./nix.py"]),
    )
    assert [line.split(": ")[1] for line in problems(folder, text)] == [
        "users[0].algorithm",
        "users[2].plugins[0]",
        "users[2].algorithm",
    ]


def test_the_plugins_of_users_without_a_problem_are_checked_where_they_stand(folder: Path) -> None:
    write(
        folder / "config.yaml",
        config_text(user_config(email="a", zzz=1), user_config(email="b", algorithm="./none.py")),
    )
    with pytest.raises(InvalidConfigError) as invalid:
        load(folder / "config.yaml")
    with pytest.raises(ConfigError) as caught:
        build(invalid.value.usable, Registry())
    (problem,) = caught.value.problems
    assert problem.key == "users[1].algorithm"


# The next one.


def test_what_did_not_change_is_taken_over(folder: Path) -> None:
    registry = Registry()
    first = built(folder, config_text(), registry)
    instance(first).count = 7
    rest(first.routes[USER].targets["a"].gauge)
    second = built(folder, config_text(password="new", settings={"deadline_s": 9}), registry, first)
    assert second.number == 2
    assert instance(second) is instance(first)
    assert second.routes[USER].targets["a"].gauge is first.routes[USER].targets["a"].gauge
    assert names(second.routes[USER].offer([], now=0)) == ["b"]
    assert second.routes[USER].user.password.reveal() == "new"
    assert second.settings.deadline_s == 9


def test_a_downstream_that_changed_starts_anew_and_the_others_go_on(folder: Path) -> None:
    registry = Registry()
    first = built(folder, config_text(), registry)
    for target in first.routes[USER].targets.values():
        rest(target.gauge)
    changed = {"c": "c.example:25", "b": "b.example:25", "a": "a.example:26"}
    second = built(folder, config_text(downstreams=changed), registry, first)
    targets = second.routes[USER].targets
    assert list(targets) == ["c", "b", "a"]
    assert {name: target.gauge.is_resting(now=0) for name, target in targets.items()} == {
        "a": False,
        "b": True,
        "c": False,
    }
    assert targets["a"].seen(now=0).port == 26


def test_a_user_who_comes_and_one_who_goes_leave_the_others_alone(folder: Path) -> None:
    registry = Registry()
    a, b, c = (user_config(email=name) for name in "abc")
    first = built(folder, config_text(a, b), registry)
    second = built(folder, config_text(c, b), registry, first)
    assert list(second.routes) == ["c", "b"]
    assert instance(second, "b") is instance(first, "b")
    assert instance(second, "c") is not instance(first, "a")
    third = built(folder, config_text(a, b), registry, second)
    assert instance(third, "a") is not instance(first, "a")


def test_a_plugin_keeps_its_state_where_it_stands_now(folder: Path) -> None:
    registry = Registry()
    one = {"use": "./algorithm.py", "options": {"start": 1}}
    two = {"use": "./algorithm.py", "options": {"start": 2}}
    first = built(folder, config_text(plugins=[one, two], algorithm="./first.py"), registry)
    second = built(
        folder, config_text(plugins=[two, "./first.py", one], algorithm="./first.py"), registry, first
    )
    assert instance(second, position=0) is instance(first, position=1)
    assert instance(second, position=2) is instance(first, position=0)


def test_twins_keep_a_state_each(folder: Path) -> None:
    registry = Registry()
    text = config_text(plugins=["./algorithm.py", "./algorithm.py"])
    first = built(folder, text, registry)
    second = built(folder, text, registry, first)
    instances = [instance(first, position=position) for position in range(3)]
    assert len(set(map(id, instances))) == 3
    assert [instance(second, position=position) for position in range(3)] == instances


def test_a_changed_file_makes_new_instances_for_all_that_name_it(folder: Path) -> None:
    registry = Registry()
    text = config_text(user_config(email="a"), user_config(email="b"))
    first = built(folder, text, registry)
    write(folder / "algorithm.py", COUNTING + "# edited\n")
    assert all(route.is_stale() for route in first.routes.values())
    second = built(folder, text, registry, first)
    assert all(route.is_stale() for route in first.routes.values())
    assert not any(route.is_stale() for route in second.routes.values())
    for user in "ab":
        assert instance(second, user) is not instance(first, user)


def test_the_old_epoch_stays_as_it_was(folder: Path) -> None:
    registry = Registry()
    first = built(folder, config_text(), registry)
    old = instance(first)
    write(folder / "algorithm.py", FIRST)
    built(folder, config_text(downstreams={"z": "z.example:1"}), registry, first)
    assert instance(first) is old
    assert list(first.routes[USER].targets) == ["a", "b"]


def test_the_files_of_an_epoch_are_those_that_its_plugins_came_from(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"other.py": FIRST})
    files = bench.epochs.current.plugin_files
    assert sorted(file.path.name for file in files) == ["algorithm.py", "other.py"]
