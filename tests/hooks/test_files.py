"""Plugins by path: loaded, loaded again when their contents change, and kept when these are broken."""

import logging
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from smtp_router import PluginError
from smtp_router.hooks.files import PluginFile

GOOD = """\
from smtp_router import hookimpl

VERSION = "{}"

@hookimpl
def select_downstream(downstreams):
    return downstreams[0]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "algorithm.py"
    write(file, GOOD.format(1))
    return file


def write(path: Path, source: str | bytes) -> None:
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    path.chmod(0o644)


def load(file: PluginFile) -> ModuleType:
    target = file.load("mine")
    assert isinstance(target, ModuleType)
    return target


def version(file: PluginFile) -> object:
    return load(file).VERSION


def private_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("_smtp_router_plugin_")}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        str(vars(record)["fields"]["error"])
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


# Loading.


def test_a_file_is_loaded_once_while_it_stays_the_same(path: Path) -> None:
    file = PluginFile(path)
    first = load(file)
    assert load(file) is first
    assert not file.changed()
    os.utime(path, ns=(1, 1))
    assert load(file) is first


def test_what_was_loaded_is_logged_with_its_hash(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = PluginFile(path)
    load(file)
    load(file)
    (record,) = caplog.records
    assert record.getMessage() == "plugin loaded"
    assert vars(record)["fields"] == {"plugin": "mine", "file": str(path), "sha256": file.digest}


def test_a_module_has_a_private_name_and_knows_its_file(path: Path) -> None:
    before = private_modules()
    module = load(PluginFile(path))
    assert private_modules() - before == {module.__name__}
    assert module.__file__ == str(path)
    assert sys.modules[module.__name__] is module
    assert "algorithm" not in sys.modules


def test_a_dataclass_in_a_plugin_file_works(path: Path) -> None:
    write(
        path,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass, field\n"
        "from typing import ClassVar\n"
        "from smtp_router import Downstream, hookimpl\n"
        "@dataclass\n"
        "class Mine:\n"
        "    known: ClassVar[int] = 1\n"
        "    seen: dict[str, int] = field(default_factory=dict)\n"
        "    @hookimpl\n"
        "    def select_downstream(self, downstreams):\n"
        "        return downstreams[0]\n",
    )
    target = PluginFile(path).load("mine")
    assert isinstance(target, type)
    assert target().seen == {}


def test_two_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "algorithm.py", GOOD.format(folder))
        files.append(PluginFile(tmp_path / folder / "algorithm.py"))
    assert [version(file) for file in files] == ["one", "two"]
    assert load(files[0]).__name__ != load(files[1]).__name__


def test_two_files_of_one_content_do_not_share_their_state(tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        write(tmp_path / name, GOOD.format(1))
    assert load(PluginFile(tmp_path / "one.py")) is not load(PluginFile(tmp_path / "two.py"))


def test_a_file_may_have_any_encoding_that_python_reads(path: Path) -> None:
    write(path, b"# -*- coding: latin-1 -*-\nNAME = '\xfc'\n" + GOOD.format(1).encode())
    assert load(PluginFile(path)).NAME == "ü"
    write(path, b"\xef\xbb\xbf" + GOOD.format(2).encode())
    assert version(PluginFile(path)) == "2"


def test_nothing_is_written_beside_the_file(path: Path) -> None:
    load(PluginFile(path))
    assert [entry.name for entry in path.parent.iterdir()] == ["algorithm.py"]


# Hot reload.


def test_an_edit_counts_from_the_next_load_on(path: Path) -> None:
    file = PluginFile(path)
    assert version(file) == "1"
    write(path, GOOD.format("two"))
    assert file.changed()
    assert version(file) == "two"
    assert not file.changed()


def test_an_edit_of_the_same_size_within_the_same_second_is_seen(path: Path) -> None:
    file = PluginFile(path)
    assert version(file) == "1"
    before = path.stat()
    for edit in range(2, 10):
        write(path, GOOD.format(edit))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert version(file) == str(edit)


def test_a_stale_pyc_is_not_taken(path: Path) -> None:
    cache = path.parent / "__pycache__"
    cache.mkdir()
    (cache / f"algorithm.{sys.implementation.cache_tag}.pyc").write_bytes(b"not a pyc")
    assert version(PluginFile(path)) == "1"


def test_the_old_module_is_forgotten_when_a_new_one_is_loaded(path: Path) -> None:
    before = private_modules()
    file = PluginFile(path)
    load(file)
    write(path, GOOD.format(2))
    module = load(file)
    assert private_modules() - before == {module.__name__}


def test_a_modules_state_lives_until_its_file_changes(path: Path) -> None:
    file = PluginFile(path)
    vars(load(file))["VERSION"] = "state"
    path.touch()
    assert version(file) == "state"
    write(path, GOOD.format(2))
    assert version(file) == "2"


# Broken files.

BROKEN = {
    "syntax error": ("x = 1\ndef broken(:\n", "syntax error: invalid syntax", 2),
    "indentation": ("def f():\nreturn 1\n", "syntax error: expected an indented block", 2),
    "no UTF-8": (b"x = '\xff'\n", "syntax error: ", 1),
    "too deep": ("x = " + "-" * 20_000 + "1", "does not compile: ", 1),
    "unknown encoding": (b"# coding: nonsense\n", "syntax error: ", 1),
    "exception": ("x = 1\n\n\nx / 0\n", "failed on import: ZeroDivisionError: division by zero", 4),
    "exception in a function": (
        "def f():\n    raise KeyError('k')\n\nf()\n",
        "failed on import: KeyError: 'k'",
        2,
    ),
    "exception elsewhere": (
        "import json\n\njson.loads('[')\n",
        "failed on import: JSONDecodeError: ",
        3,
    ),
    "import error": (
        "x = 1\nimport no_such_module\n",
        "failed on import: ModuleNotFoundError: No module named 'no_such_module'",
        2,
    ),
    "wrong name": (
        "from smtp_router import hook\n",
        "failed on import: ImportError: cannot import name 'hook' from 'smtp_router'",
        1,
    ),
    "SystemExit": ("import sys\nsys.exit(3)\n", "failed on import: SystemExit: 3", 2),
    "BaseException": ("raise BaseException('x')\n", "failed on import: BaseException: x", 1),
    "KeyboardInterrupt": ("raise KeyboardInterrupt\n", "failed on import: KeyboardInterrupt:", 1),
    "several lines": ("raise ValueError('a\\nb')\n", "failed on import: ValueError: a b", 1),
    "empty": ("", "has no hook: mark a function with @hookimpl", 1),
    "unmarked": (
        "def select_downstream(downstreams): ...\n",
        "select_downstream is not marked: put @hookimpl above it",
        1,
    ),
    "misspelt": (
        "from smtp_router import hookimpl\n@hookimpl\ndef select_downstreams(): ...\n",
        "select_downstreams is not a hook: did you mean select_downstream?",
        1,
    ),
}


@pytest.mark.parametrize(("source", "message", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_names_plugin_fault_file_and_line(
    path: Path, source: str | bytes, message: str, line: int
) -> None:
    before = private_modules()
    write(path, source)
    with pytest.raises(PluginError) as caught:
        PluginFile(path).load("mine")
    assert caught.value.message.startswith(message)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert str(caught.value).endswith(f"({path}:{line})")
    assert "\n" not in str(caught.value)
    assert private_modules() == before


@pytest.mark.parametrize(("source", "message", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_edit_leaves_the_last_good_version_and_is_logged_once(
    path: Path, source: str | bytes, message: str, line: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = PluginFile(path)
    good = load(file)
    write(path, source)
    for _ in range(3):
        assert load(file) is good
        assert not file.changed()
    (error,) = errors(caplog)
    assert error.startswith(f"mine: {message}")
    assert error.endswith(f"({path}:{line})")
    assert sys.modules[good.__name__] is good


def test_a_nul_byte_is_one_more_way_to_be_broken(path: Path) -> None:
    write(path, b"x = 1\0\n")
    with pytest.raises(PluginError, match=r"null bytes \(.*algorithm\.py:1\)$"):
        PluginFile(path).load("mine")


def test_each_broken_edit_is_logged_and_a_good_one_ends_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = PluginFile(path)
    load(file)
    for source in ("x = (", "y = (", GOOD.format(2), "z = ("):
        write(path, source)
        load(file)
        load(file)
    assert len(errors(caplog)) == 3
    assert version(file) == "2"


def test_a_broken_edit_that_is_taken_back_keeps_the_state(path: Path) -> None:
    file = PluginFile(path)
    vars(load(file))["VERSION"] = "state"
    write(path, "x = (")
    load(file)
    write(path, GOOD.format(1))
    assert version(file) == "state"


def test_a_file_that_has_gone_leaves_its_last_version(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = PluginFile(path)
    good = load(file)
    path.unlink()
    assert file.changed()
    assert load(file) is good
    assert load(file) is good
    assert errors(caplog) == [f"mine: cannot be read: No such file or directory ({path})"]


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "algorithm.py"
    why = {"missing": "No such file or directory", "folder": "Is a directory"}[kind]
    if kind == "folder":
        path.mkdir()
    with pytest.raises(PluginError) as caught:
        PluginFile(path).load("mine")
    assert str(caught.value) == f"mine: cannot be read: {why} ({path})"


def test_a_file_that_did_not_load_is_tried_again(path: Path) -> None:
    file = PluginFile(path)
    write(path, "x = (")
    for _ in range(2):
        with pytest.raises(PluginError):
            file.load("mine")
    assert not file.changed()
    write(path, GOOD.format(1))
    assert file.changed()
    assert version(file) == "1"


# Trust.


def test_a_file_that_others_may_write_is_not_run(path: Path) -> None:
    write(path, "raise SystemExit\n")
    path.chmod(0o666)
    with pytest.raises(PluginError) as caught:
        PluginFile(path).load("mine")
    assert str(caught.value) == (
        f"mine: other users may write {path} (chmod go-w, or chown it to this user); "
        "allow_writable_plugins: true lifts this"
    )


def test_a_file_that_others_may_write_is_loaded_if_that_is_allowed(path: Path) -> None:
    path.chmod(0o666)
    assert isinstance(PluginFile(path).load("mine", trust_all=True), ModuleType)


def test_a_file_that_others_may_write_by_now_is_not_loaded_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = PluginFile(path)
    load(file)
    path.write_text(GOOD.format("evil"))
    path.chmod(0o666)
    assert version(file) == "1"
    assert version(file) == "1"
    assert len(errors(caplog)) == 1
    path.chmod(0o644)
    assert version(file) == "evil"  # its owner has looked at it since
