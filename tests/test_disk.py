"""Has a file changed, and who else may write it? On real files; other users are played by root."""

import grp
import hashlib
import os
import pwd
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from smtp_router.disk import UntrustedFileError, Watch, check_trusted

SOMEBODY = 12345
"""A user id that is neither root nor ours."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "algorithm.py"
    path.write_text("one")
    path.chmod(0o644)
    return path


def read(path: Path) -> Watch:
    watch = Watch(path)
    watch.read()
    return watch


# Changes.


def test_a_file_that_was_read_has_not_changed(file: Path) -> None:
    watch = Watch(file)
    assert watch.read() == b"one"
    assert watch.digest == hashlib.sha256(b"one").hexdigest()
    assert not watch.changed()
    assert not watch.changed()


def test_a_change_stays_one_until_it_is_read(file: Path) -> None:
    watch = read(file)
    file.write_text("three")
    assert watch.changed()
    assert watch.changed()
    assert watch.read() == b"three"
    assert not watch.changed()


def test_an_edit_of_the_same_size_at_the_same_time_is_seen(file: Path) -> None:
    for content in ["two", "one"] * 50:
        watch = read(file)
        before = file.stat()
        file.write_text(content)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert watch.changed()


def test_an_edit_between_two_looks_in_the_same_tick_is_seen(file: Path) -> None:
    watch = read(file)
    for content in ["two", "one"] * 50:
        assert not watch.changed()
        file.write_text(content)
        assert watch.changed()
        watch.read()


def test_a_clock_of_two_seconds_hides_no_edit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT has it: all that a look can tell of these edits is the same."""

    def coarse(status: os.stat_result) -> SimpleNamespace:
        fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        for name in ("st_mtime", "st_ctime"):
            fields[name] = fields[name] // 2 * 2
            fields[f"{name}_ns"] = int(fields[name]) * 10**9
        return SimpleNamespace(**fields)

    fstat, look = os.fstat, Path.stat
    monkeypatch.setattr(os, "fstat", lambda descriptor: coarse(fstat(descriptor)))
    monkeypatch.setattr(Path, "stat", lambda path: coarse(look(path)))
    watch = read(file)
    for content in ["two", "one"] * 10:
        file.write_text(content)
        assert watch.changed()
        assert watch.read() == content.encode()
        assert not watch.changed()


def test_a_touched_file_has_not_changed(file: Path) -> None:
    watch = read(file)
    os.utime(file, ns=(1, 1))
    assert not watch.changed()


def test_an_edit_that_is_taken_back_is_no_change(file: Path) -> None:
    watch = read(file)
    file.write_text("two")
    assert watch.changed()
    file.write_text("one")
    assert not watch.changed()


def test_a_file_that_has_settled_is_not_read_to_see_that_it_is_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = read(file)
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert not watch.changed()  # read once more: the last look was too close to its last change
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", _fail)
        assert not watch.changed()
    file.write_text("two")
    assert watch.changed()


def _fail(*_: object, **__: object) -> None:
    raise AssertionError


def test_a_file_in_place_of_the_old_one_is_seen(file: Path) -> None:
    watch = read(file)
    new = file.with_suffix(".new")
    new.write_text("two")
    new.replace(file)
    assert watch.changed()


def test_a_link_that_leads_elsewhere_is_seen(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(file)
    watch = read(link)
    assert not watch.changed()
    other = tmp_path / "other.py"
    other.write_text("two")
    link.unlink()
    link.symlink_to(other)
    assert watch.changed()
    assert watch.read() == b"two"


def test_a_file_that_has_gone_has_changed_until_that_is_known(file: Path) -> None:
    watch = read(file)
    file.unlink()
    assert watch.changed()
    with pytest.raises(FileNotFoundError):
        watch.read()
    assert not watch.changed()
    assert watch.digest == ""
    file.write_text("one")
    assert watch.changed()


def test_a_file_that_was_never_there_has_not_changed(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "none")
    assert not watch.changed()
    watch.look()
    assert not watch.changed()
    watch.path.write_text("")
    assert watch.changed()


def test_a_folder_in_place_of_a_file_is_seen(file: Path) -> None:
    watch = read(file)
    file.unlink()
    file.mkdir()
    assert watch.changed()
    watch.look()
    assert not watch.changed()


def test_a_look_takes_the_contents_for_known(file: Path) -> None:
    watch = read(file)
    file.write_text("two")
    watch.look()
    assert not watch.changed()
    file.unlink()
    watch.look()
    assert not watch.changed()


def test_no_more_is_read_than_asked_for_and_one_byte(file: Path) -> None:
    watch = Watch(file)
    file.write_text("12345678")
    assert watch.read(max_bytes=8) == b"12345678"
    assert watch.read(max_bytes=4) == b"12345"
    assert not watch.changed()
    watch.look()
    assert not watch.changed()
    file.write_text("9999")
    assert watch.changed()


@not_as_root
def test_a_file_that_cannot_be_read_any_more_has_changed(file: Path) -> None:
    watch = read(file)
    file.chmod(0)
    assert watch.changed()
    with pytest.raises(PermissionError):
        watch.read()
    assert not watch.changed()


# Trust.


def refusal(path: Path) -> str:
    """Why this file is not to be trusted; it does not say so when it is."""
    with pytest.raises(UntrustedFileError) as caught:
        Watch(path).read(trusted=True)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444, 0o755])
def test_a_file_that_only_we_may_write_is_trusted(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert Watch(file).read(trusted=True) == b"one"


@pytest.mark.parametrize("mode", [0o646, 0o666, 0o602, 0o777])
def test_a_file_that_everybody_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refusal(file) == f"other users may write {file} (chmod go-w, or chown it to this user)"


def test_trust_is_asked_for_only_where_it_matters(file: Path) -> None:
    file.chmod(0o666)
    assert Watch(file).read() == b"one"


def test_a_refused_file_is_looked_at_again_when_its_mode_changes(file: Path) -> None:
    file.chmod(0o666)
    watch = Watch(file)
    with pytest.raises(UntrustedFileError):
        watch.read(trusted=True)
    assert not watch.changed()
    file.chmod(0o644)
    assert watch.changed()
    assert watch.read(trusted=True) == b"one"
    assert not watch.changed()


def test_a_folder_that_everybody_may_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    assert refusal(file) == (
        f"other users may replace {file}: they may write {file.parent} (chmod go-w)"
    )


def test_a_folder_further_up_counts_as_well(file: Path) -> None:
    deep = file.parent / "a" / "b"
    deep.mkdir(parents=True)
    inner = file.rename(deep / file.name)
    file.parent.chmod(0o777)
    assert f"they may write {file.parent} " in refusal(inner)


def test_a_sticky_folder_is_all_right(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert Watch(file).read(trusted=True) == b"one"


@as_root
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, SOMEBODY, -1)
    assert refusal(file).startswith(f"other users may write {file}")


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1755, 0o1777])
def test_a_folder_of_somebody_else_is_refused_be_it_sticky_or_not(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    os.chown(file.parent, SOMEBODY, -1)
    assert f"they may write {file.parent} " in refusal(file)


# Links: whoever may swap one may replace the file.


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_link_in_a_folder_of_ours_is_all_right(file: Path) -> None:
    link = file.with_name("link.py")
    link.symlink_to(file.name)
    assert Watch(link).read(trusted=True) == b"one"


def test_a_link_that_others_may_swap_is_refused(file: Path, open_folder: Path) -> None:
    link = open_folder / "link.py"
    link.symlink_to(file)
    assert f"they may write {open_folder} " in refusal(link)


def test_a_link_behind_a_link_counts_as_well(file: Path, open_folder: Path) -> None:
    middle = open_folder / "middle.py"
    middle.symlink_to(file)
    link = file.with_name("link.py")
    link.symlink_to(middle)
    assert f"they may write {open_folder} " in refusal(link)


def test_a_folder_that_is_a_link_counts_as_well(file: Path, open_folder: Path) -> None:
    folder = open_folder / "folder"
    folder.symlink_to(file.parent)
    assert f"they may write {open_folder} " in refusal(folder / file.name)


def test_the_file_behind_a_link_counts_as_well(file: Path, open_folder: Path) -> None:
    inner = file.rename(open_folder / file.name)
    file.symlink_to(inner)
    assert f"they may write {open_folder} " in refusal(file)


def test_two_dots_behind_a_link_go_up_from_where_it_leads(file: Path, open_folder: Path) -> None:
    """As the system reads a path; a look at its letters alone would miss the folder."""
    (open_folder / "inner").mkdir()
    hidden = file.rename(open_folder / file.name)
    link = file.parent / "link"
    link.symlink_to(open_folder / "inner")
    path = link / ".." / hidden.name
    assert f"they may write {open_folder} " in refusal(path)


def test_two_dots_are_no_reason_to_refuse(file: Path) -> None:
    (file.parent / "inner").mkdir()
    (file.parent / "link").symlink_to("inner")
    assert Watch(file.parent / "link" / ".." / file.name).read(trusted=True) == b"one"


def test_a_relative_path_starts_where_we_are(
    file: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert Watch(Path(file.name)).read(trusted=True) == b"one"
    file.rename(open_folder / file.name)
    monkeypatch.chdir(open_folder)
    assert f"they may write {open_folder} " in refusal(Path(file.name))


@as_root
def test_a_link_of_somebody_else_is_refused(file: Path) -> None:
    shared = file.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "link.py"
    link.symlink_to(file)
    assert Watch(link).read(trusted=True) == b"one"
    os.lchown(link, SOMEBODY, -1)
    assert refusal(link) == f"another user may replace {link}: {link} is their link (chown -h)"


def test_links_that_lead_in_a_circle_are_an_error_of_the_system(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(second)
    second.symlink_to(first)
    with pytest.raises(OSError, match="symbolic links"):
        Watch(first).read(trusted=True)
    with pytest.raises(OSError, match="symbolic links"):
        check_trusted(first, tmp_path.stat())


# Groups.

Group = Callable[[str, list[str], int], None]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    """Say what the system's lists of users and groups have for the file's owner and group."""

    def say(name: str, members: list[str], primary: int) -> None:
        owner = pwd.struct_passwd(("me", "x", os.geteuid(), primary, "", "/", "/bin/sh"))
        monkeypatch.setattr(pwd, "getpwuid", lambda _: owner)
        monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "x", gid, members)))

    return say


@pytest.mark.parametrize(
    ("name", "members", "primary", "trusted"),
    [
        pytest.param("me", [], os.getegid(), True, id="user-private group"),
        pytest.param("me", ["me"], os.getegid(), True, id="that lists its owner"),
        pytest.param("me", ["me", "you"], os.getegid(), False, id="with another member"),
        pytest.param("me", [], 54321, False, id="not the owner's primary group"),
        pytest.param("users", [], os.getegid(), False, id="everybody's primary group"),
    ],
)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_group_may_write_when_nobody_else_is_in_it(
    *, file: Path, group: Group, name: str, members: list[str], primary: int, what: str, trusted: bool
) -> None:
    for path in (file, file.parent):
        os.chown(path, -1, os.getegid())
    group(name, members, primary)
    if what == "file":
        file.chmod(0o664)
    else:
        file.parent.chmod(0o775)
    if trusted:
        assert Watch(file).read(trusted=True) == b"one"
    else:
        assert "other users may" in refusal(file)


def test_a_group_that_nobody_knows_is_not_trusted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(grp, "getgrgid", unknown)
    file.chmod(0o664)
    assert refusal(file).startswith(f"other users may write {file}")


def test_the_opened_file_is_the_one_that_is_checked(file: Path) -> None:
    """The path may lead elsewhere by now: what counts is the descriptor that is read from."""
    file.chmod(0o666)
    status = file.stat()
    file.chmod(0o644)
    with pytest.raises(UntrustedFileError):
        check_trusted(file, status)
    assert not stat.S_IMODE(file.stat().st_mode) & stat.S_IWOTH
