"""Where plugins come from, what is made of them, and what a reload keeps."""

import importlib.metadata
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from smtp_router import PluginError
from smtp_router.hooks.installed import Installed, InstalledPlugins
from smtp_router.hooks.plugin import Plugin
from smtp_router.hooks.registry import Definition, Registry, is_path

FUNCTION = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    return downstreams[0]
"""
CLASS = """\
from smtp_router import hookimpl

class Algorithm:
    def __init__(self, weight=1):
        self.weight = weight

    @hookimpl
    def select_downstream(self, downstreams):
        return downstreams[0]
"""


class Install(Protocol):
    """Puts a distribution on `sys.path`, as pip would."""

    def __call__(
        self,
        distribution: str,
        entry_points: Mapping[str, str],
        *,
        version: str = "1.0",
        more: str = "",
        **modules: str,
    ) -> None: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    installed: list[str] = []

    def put(
        distribution: str,
        entry_points: Mapping[str, str],
        *,
        version: str = "1.0",
        more: str = "",
        **modules: str,
    ) -> None:
        stem = distribution.replace("-", "_")
        for before in site.glob(f"{stem}-*.dist-info"):
            shutil.rmtree(before)
        info = site / f"{stem}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{more}"
        )
        lines = ["[smtp_router]", *(f"{name} = {value}" for name, value in entry_points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            installed.append(module)

    yield put
    for module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    write(path, CLASS)
    return path


def write(path: Path, source: str) -> None:
    path.write_text(source)
    path.chmod(0o644)


def made(
    registry: Registry, name: str, base: Path, previous: Plugin | None = None, **options: object
) -> Plugin:
    """Find a plugin and make it."""
    return registry.make(registry.find(name, base), options, previous)


def owner(plugin: Plugin) -> Any:  # noqa: ANN401 - the plugin's own object
    """The object or module that the plugin's first hook belongs to."""
    function: Any = plugin.calls[0].function
    return function.__self__ if hasattr(function, "__self__") else sys.modules[function.__module__]


# By name or by path.


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("round_robin", False),
        ("round-robin", False),
        ("a.b", False),
        ("./round_robin", True),
        ("./mine.py", True),
        ("mine.py", True),
        ("../x/mine.py", True),
        ("/etc/mine", True),
    ],
)
def test_a_slash_or_py_makes_a_path(name: str, *, path: bool) -> None:
    assert is_path(name) is path


@pytest.mark.parametrize("name", ["./mine.py", "mine.py", "../{folder}/mine.py", "{file}"])
def test_a_path_starts_from_the_base(file: Path, name: str) -> None:
    name = name.format(folder=file.parent.name, file=file)
    registry = Registry()
    definition = registry.find(name, file.parent)
    assert definition.name == name
    assert Path(definition.source).samefile(file)
    assert definition.identity == f"file:{registry.file(file.parent / name).digest}"
    assert isinstance(definition.target, type)


def test_one_path_is_one_file(file: Path) -> None:
    registry = Registry()
    assert registry.file(file) is registry.file(file)
    assert registry.file(file) is not Registry().file(file)


def test_an_untrusted_file_is_found_only_when_that_is_allowed(file: Path) -> None:
    file.chmod(0o666)
    registry = Registry()
    with pytest.raises(PluginError, match="allow_writable_plugins: true lifts this"):
        registry.find("./mine.py", file.parent)
    assert registry.find("./mine.py", file.parent, trust_all=True).source == str(file)


def test_an_installed_plugin_is_found_by_its_entry_point(install: Install, tmp_path: Path) -> None:
    install(
        "smtp-router-first", {"first": "smtp_router_first"}, version="1.2", smtp_router_first=FUNCTION
    )
    definition = Registry().find("first", tmp_path)
    assert definition == Definition(
        name="first",
        source="smtp-router-first 1.2",
        identity="installed:smtp-router-first 1.2:smtp_router_first",
        target=sys.modules["smtp_router_first"],
        base=tmp_path,
    )


@pytest.mark.parametrize("value", ["smtp_router_first", "smtp_router_first:Algorithm"])
def test_an_entry_point_may_name_a_module_or_a_class(
    install: Install, tmp_path: Path, value: str
) -> None:
    install("smtp-router-first", {"first": value}, smtp_router_first=CLASS)
    assert made(Registry(), "first", tmp_path, weight=3).hooks == ("select_downstream",)


def test_the_very_same_file_works_installed_and_by_path(install: Install, tmp_path: Path) -> None:
    install("smtp-router-first", {"first": "smtp_router_first"}, smtp_router_first=CLASS)
    registry = Registry()
    by_name = made(registry, "first", tmp_path, weight=2)
    by_path = made(registry, "./site-packages/smtp_router_first.py", tmp_path, weight=2)
    assert by_name.hooks == by_path.hooks
    assert owner(by_name).weight == owner(by_path).weight == 2


def test_only_what_is_named_is_imported(install: Install, tmp_path: Path) -> None:
    install("smtp-router-first", {"first": "smtp_router_first"}, smtp_router_first=FUNCTION)
    install("smtp-router-second", {"second": "smtp_router_second"}, smtp_router_second="1 / 0")
    Registry().find("first", tmp_path)
    assert "smtp_router_second" not in sys.modules


def test_what_is_not_installed_is_told_with_what_is_and_what_to_do(
    install: Install, tmp_path: Path
) -> None:
    install("smtp-router-first", {"first": "smtp_router_first"}, smtp_router_first=FUNCTION)
    names = {entry_point.name for entry_point in importlib.metadata.entry_points(group="smtp_router")}
    assert "first" in names
    with pytest.raises(PluginError) as caught:
        Registry().find("zig_zag", tmp_path)
    assert str(caught.value) == (
        f"zig_zag: is not installed (installed: {', '.join(sorted(names))}); "
        "try: pip install smtp-router-zig-zag; or is it a file? Then write ./zig_zag.py"
    )


def test_a_name_that_is_nearly_installed_is_asked_back(install: Install, tmp_path: Path) -> None:
    install("smtp-router-first", {"very_first": "smtp_router_first"}, smtp_router_first=FUNCTION)
    with pytest.raises(PluginError, match=r"; did you mean very_first\?$"):
        Registry().find("very_frist", tmp_path)


def test_with_nothing_installed_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginError, match=r"^x: is not installed \(installed: none\); try: pip install"):
        Registry().find("x", tmp_path)


def test_a_name_that_two_distributions_bring_is_refused(install: Install, tmp_path: Path) -> None:
    for distribution in ("smtp-router-second", "smtp-router-first"):
        install(distribution, {"twice": "smtp_router_first"}, smtp_router_first=FUNCTION)
    with pytest.raises(PluginError) as caught:
        Registry().find("twice", tmp_path)
    assert str(caught.value) == (
        "twice: is in smtp-router-first 1.0 and smtp-router-second 1.0; uninstall all but one"
    )
    listed = [each.distribution for each in InstalledPlugins().listed() if each.name == "twice"]
    assert listed == ["smtp-router-first", "smtp-router-second"]


def test_what_is_installed_meanwhile_is_found_after_a_rescan(install: Install, tmp_path: Path) -> None:
    registry = Registry()
    with pytest.raises(PluginError, match="is not installed"):
        registry.find("late", tmp_path)
    install("smtp-router-late", {"late": "smtp_router_late"}, smtp_router_late=FUNCTION)
    with pytest.raises(PluginError, match="is not installed"):
        registry.find("late", tmp_path)
    registry.installed.rescan()
    assert registry.find("late", tmp_path).source == "smtp-router-late 1.0"


@pytest.mark.parametrize(
    ("value", "source", "message"),
    [
        ("smtp_router_bad", "1 / 0", "ZeroDivisionError: division by zero"),
        ("smtp_router_bad", "import sys\nsys.exit(1)", "SystemExit: 1"),
        ("smtp_router_bad", "x = (", "SyntaxError: "),
        ("no_such_module", "", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("smtp_router_bad:Missing", "", "AttributeError: module 'smtp_router_bad' has no attribute"),
    ],
)
def test_an_installed_plugin_that_cannot_be_imported_names_its_distribution(
    install: Install, tmp_path: Path, value: str, source: str, message: str
) -> None:
    install("smtp-router-bad", {"bad": value}, smtp_router_bad=source)
    with pytest.raises(PluginError) as caught:
        Registry().find("bad", tmp_path)
    assert str(caught.value).startswith(f"bad: cannot be imported from smtp-router-bad 1.0: {message}")


def test_an_installed_plugin_without_a_hook_is_none(install: Install, tmp_path: Path) -> None:
    install("smtp-router-bad", {"bad": "smtp_router_bad:x"}, smtp_router_bad="x = 5")
    with pytest.raises(PluginError, match=r"^bad: is neither a module nor a class, but a int$"):
        Registry().find("bad", tmp_path)


def test_all_that_is_installed_is_listed_also_what_is_broken(install: Install) -> None:
    install(
        "smtp-router-two",
        {"zulu": "smtp_router_two", "alpha": "smtp_router_two:Algorithm"},
        version="2.0",
        smtp_router_two=CLASS + "    @hookimpl\n    async def after_send(self): ...\n",
    )
    install("smtp-router-bad", {"bad": "smtp_router_bad"}, smtp_router_bad="1 / 0")
    listed = list(InstalledPlugins().listed())
    assert [plugin.name for plugin in listed] == sorted(plugin.name for plugin in listed)
    hooks = ("select_downstream", "after_send")
    mine = [plugin for plugin in listed if plugin.name in {"zulu", "alpha", "bad"}]
    assert mine == [
        Installed(name="alpha", distribution="smtp-router-two", version="2.0", hooks=hooks),
        Installed(
            name="bad",
            distribution="smtp-router-bad",
            version="1.0",
            hooks=(),
            error="cannot be imported from smtp-router-bad 1.0: ZeroDivisionError: division by zero",
        ),
        Installed(name="zulu", distribution="smtp-router-two", version="2.0", hooks=hooks),
    ]


@pytest.mark.parametrize(
    ("metadata", "summary", "homepage"),
    [
        ("", "", ""),
        ("Summary: Mail by size.\n", "Mail by size.", ""),
        ("Summary: In two\n  lines.\n", "In two lines.", ""),
        ("Project-URL: Homepage, https://a.example/\n", "", "https://a.example/"),
        ("Project-URL: home page, https://a.example/?b,c\n", "", "https://a.example/?b,c"),
        ("Project-URL: Source, https://b.example/\n", "", ""),
        (
            "Project-URL: Source, x:\nProject-URL: Home-Page, https://a.example/\n",
            "",
            "https://a.example/",
        ),
        ("Home-page: https://old.example/\n", "", "https://old.example/"),
        (
            "Home-page: https://old.example/\nProject-URL: Homepage, https://a.example/\n",
            "",
            "https://a.example/",
        ),
    ],
)
def test_what_a_distribution_says_of_itself_is_listed(
    install: Install, metadata: str, summary: str, homepage: str
) -> None:
    install(
        "smtp-router-first", {"first": "smtp_router_first"}, more=metadata, smtp_router_first=FUNCTION
    )
    (listed,) = (plugin for plugin in InstalledPlugins().listed() if plugin.name == "first")
    assert (listed.summary, listed.homepage) == (summary, homepage)


def test_what_is_loaded_stays_at_work_when_another_version_is_installed(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Python imports a package once; its state goes on, too."""
    registry = Registry()
    install("smtp-router-first", {"first": "smtp_router_first"}, smtp_router_first=CLASS)
    before = made(registry, "first", tmp_path)
    install(
        "smtp-router-first", {"first": "smtp_router_first:New"}, version="2.0", smtp_router_first="1 / 0"
    )
    registry.installed.rescan()
    assert made(registry, "first", tmp_path, before) is before
    assert before.source == "smtp-router-first 1.0"
    assert [record.getMessage() for record in caplog.records] == [
        "installed plugin has changed, which takes a restart"
    ]
    assert vars(caplog.records[0])["fields"] == {
        "plugin": "first",
        "at_work": "smtp-router-first 1.0",
        "installed": "smtp-router-first 2.0",
    }


def test_a_change_of_what_is_installed_is_told_once(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    registry = Registry()
    told = []
    for version in ("1.0", "1.0", "2.0", "2.0", "3.0", "1.0", "1.0"):
        caplog.clear()
        install(
            "smtp-router-first",
            {"first": "smtp_router_first"},
            version=version,
            smtp_router_first=FUNCTION,
        )
        registry.installed.rescan()
        assert registry.find("first", tmp_path).source == "smtp-router-first 1.0"
        told.append([vars(record)["fields"]["installed"][-3:] for record in caplog.records])
    assert told == [[], [], ["2.0"], [], ["3.0"], [], []]


def test_what_is_uninstalled_meanwhile_is_missed_at_the_next_rescan(
    install: Install, tmp_path: Path
) -> None:
    install("smtp-router-first", {"first": "smtp_router_first"}, smtp_router_first=FUNCTION)
    registry = Registry()
    registry.find("first", tmp_path)
    shutil.rmtree(next(tmp_path.glob("site-packages/*.dist-info")))
    registry.installed.rescan()
    with pytest.raises(PluginError, match="try: pip install smtp-router-first;"):
        registry.find("first", tmp_path)


# What is made, and what is kept.


def test_a_plugin_knows_its_name_source_and_hooks(file: Path) -> None:
    plugin = made(Registry(), "./mine.py", file.parent, weight=7)
    assert (plugin.name, plugin.source, plugin.hooks) == (
        "./mine.py",
        str(file),
        ("select_downstream",),
    )
    assert owner(plugin).weight == 7


def test_options_do_not_show_in_the_repr(file: Path) -> None:
    assert "s3cret" not in repr(made(Registry(), "./mine.py", file.parent, weight="s3cret"))


def test_a_class_is_made_anew_for_each_place(file: Path) -> None:
    registry = Registry()
    first, second = (made(registry, "./mine.py", file.parent) for _ in range(2))
    assert owner(first) is not owner(second)


def test_a_module_is_shared_by_all_that_name_it(file: Path) -> None:
    write(file, FUNCTION)
    registry = Registry()
    first, second = (made(registry, "./mine.py", file.parent) for _ in range(2))
    assert first is second


def test_what_did_not_change_is_kept_with_its_state(file: Path) -> None:
    registry = Registry()
    before = made(registry, "./mine.py", file.parent, weight=2)
    owner(before).count = 5
    after = made(registry, "./mine.py", file.parent, before, weight=2)
    assert after is before
    assert owner(after).count == 5


def test_other_options_make_another_one(file: Path) -> None:
    registry = Registry()
    before = made(registry, "./mine.py", file.parent, weight=2)
    after = made(registry, "./mine.py", file.parent, before, weight=3)
    assert owner(after).weight == 3
    assert owner(before).weight == 2


def test_another_content_makes_another_one_with_the_same_options(file: Path) -> None:
    registry = Registry()
    before = made(registry, "./mine.py", file.parent, weight=2)
    write(file, CLASS + "# edited\n")
    after = made(registry, "./mine.py", file.parent, before, weight=2)
    assert after is not before
    assert owner(after).weight == 2
    assert owner(after).__class__ is not owner(before).__class__


def test_a_broken_edit_keeps_the_instance(file: Path) -> None:
    registry = Registry()
    before = made(registry, "./mine.py", file.parent)
    write(file, "x = (")
    assert made(registry, "./mine.py", file.parent, before) is before


def test_a_modules_state_lives_until_its_file_changes(file: Path) -> None:
    write(file, FUNCTION + "SEEN = []\n")
    registry = Registry()
    module = owner(made(registry, "./mine.py", file.parent))
    assert isinstance(module, ModuleType)
    module.SEEN.append("message")
    assert owner(made(registry, "./mine.py", file.parent)).SEEN == ["message"]
    write(file, FUNCTION + "SEEN = [ ]\n")
    assert owner(made(registry, "./mine.py", file.parent)).SEEN == []


def test_a_module_that_takes_no_options_says_so_each_time(file: Path) -> None:
    write(file, FUNCTION)
    registry = Registry()
    made(registry, "./mine.py", file.parent)
    for _ in range(2):
        with pytest.raises(PluginError, match="is not an option: this plugin is a module"):
            made(registry, "./mine.py", file.parent, weight=1)


def test_hooks_are_checked_when_a_plugin_is_made(file: Path) -> None:
    write(file, FUNCTION.replace("downstreams)", "downstreams, nonsense)"))
    registry = Registry()
    definition = registry.find("./mine.py", file.parent)
    with pytest.raises(PluginError, match="nonsense"):
        registry.make(definition, {})
