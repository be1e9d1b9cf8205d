"""Files that steer the router: have their contents changed, and who else may write them?

Contents decide, not times: an edit that keeps a file's size within the same tick of its clock is still
seen, because a file that was changed around the time it was looked at is read again (the way git treats
a "racily clean" file). Everything else is one `stat`.
"""

import errno
import grp
import hashlib
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

_RACY_S = 2.0
"""The coarsest time stamps of file systems in use are two seconds apart (FAT)."""

_MAX_LINKS = 40  # as Linux has it

_WHERE = "st_dev", "st_ino", "st_size"
_WHEN = "st_mtime_ns", "st_ctime_ns"
_WHOSE = "st_mode", "st_uid", "st_gid"  # within one tick of its clock they may change, too
_Signature = tuple[int, ...]
_signature: Callable[[os.stat_result], _Signature] = attrgetter(*_WHERE, *_WHEN, *_WHOSE)


class Watch:
    """One file, and whether it differs from what was last read."""

    def __init__(self, path: Path) -> None:
        """Watch this path; nothing is read yet."""
        self.path = path
        self._name = str(path)
        self._signature: _Signature | None = None
        self._settled = False
        self._digest: str | None = None
        self._max_bytes = -1

    @property
    def digest(self) -> str:
        """SHA-256 of what was last read, in hexadecimal."""
        return self._digest or ""

    def read(self, *, trusted: bool = False, max_bytes: int = -1) -> bytes:
        """The file's contents, from one descriptor that is opened, checked and read.

        Args:
            trusted: refuse a file that others may write.
            max_bytes: read no more than this, and one byte (so that the caller can tell).

        Raises:
            OSError: it cannot be read.
            UntrustedFileError: others may write it, and it has to be trusted.
        """
        self._digest = None
        self._signature, self._settled = None, False
        self._max_bytes = max_bytes
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            self._remember(status)
            if trusted:
                try:
                    check_trusted(self.path, status)
                except UntrustedFileError:
                    self._settled = True  # look again when its mode changes, not before
                    raise
            content = self._contents(file)
        self._digest = hashlib.sha256(content).hexdigest()
        return content

    def look(self) -> None:
        """Take the contents as they are for known, without using them."""
        with suppress(OSError):
            self.read(max_bytes=self._max_bytes)

    def changed(self) -> bool:
        """Whether the contents differ from what `read` last returned; it stays so until it reads again.

        A file that has gone, or came back, counts as changed.
        """
        try:
            status = os.stat(self._name)  # noqa: PTH116 - before every message: half the time of a Path's
        except OSError:
            return self._digest is not None
        if self._settled and _signature(status) == self._signature:
            return False
        try:
            with self.path.open("rb") as file:
                digest = hashlib.sha256(self._contents(file)).hexdigest()
        except OSError:
            digest = None
        if digest != self._digest:
            return True
        self._remember(status)
        return False

    def _contents(self, file: BinaryIO) -> bytes:
        return file.read(self._max_bytes + 1 if self._max_bytes >= 0 else -1)

    def _remember(self, status: os.stat_result) -> None:
        self._signature = _signature(status)
        youngest = max(status.st_mtime, status.st_ctime)
        self._settled = youngest < time.time() - _RACY_S


class UntrustedFileError(Exception):
    """Somebody else may write the file, or a folder above it; the text says what to do."""


def check_trusted(path: Path, status: os.stat_result) -> None:
    """Refuse a file that other users may write, or replace through a folder or link above it.

    Every folder counts that the path goes through, with those of the links on its way, since a link can
    be swapped. A folder with the sticky bit (like /tmp) lets nobody replace what is not theirs, but for
    its owner.

    Args:
        path: the file.
        status: of the opened file itself.

    Raises:
        UntrustedFileError: it is not to be trusted.
    """
    if _others_may_write(status):
        message = f"other users may write {path} (chmod go-w, or chown it to this user)"
        raise UntrustedFileError(message)
    for place, found in _places(path):
        if stat.S_ISLNK(found.st_mode):
            if _is_others(found):
                message = f"another user may replace {path}: {place} is their link (chown -h)"
                raise UntrustedFileError(message)
        elif _others_may_write(found) and (not found.st_mode & stat.S_ISVTX or _is_others(found)):
            message = f"other users may replace {path}: they may write {place} (chmod go-w)"
            raise UntrustedFileError(message)


def _places(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and every link on the way to what a path names."""
    absolute = path.absolute()  # resolve() would follow the links to look at
    place = Path(absolute.anchor)
    yield place, place.stat()
    steps = list(reversed(absolute.parts[1:]))
    links = 0
    while steps:
        step = steps.pop()
        if step == "..":
            place = place.parent
            continue
        status = (place / step).lstat()
        if stat.S_ISLNK(status.st_mode):
            yield place / step, status
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = (place / step).readlink()
            steps += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            place = Path(target.anchor) if target.is_absolute() else place
        else:
            place /= step
            if stat.S_ISDIR(status.st_mode):
                yield place, status


def _others_may_write(status: os.stat_result) -> bool:
    """By mode, or by being the owner: neither root nor the user this process runs as."""
    if _is_others(status) or status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status)


def _is_others(status: os.stat_result) -> bool:
    return status.st_uid not in (0, os.geteuid())


def _is_private_group(status: os.stat_result) -> bool:
    """Whether the group has nobody in it but the owner: a user-private group, as with umask 002.

    By name, too: who has it for a primary group is not among its members, and not every directory of
    users can be listed.
    """
    try:
        owner = pwd.getpwuid(status.st_uid)
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (
        owner.pw_gid == group.gr_gid
        and owner.pw_name == group.gr_name
        and set(group.gr_mem) <= {owner.pw_name}
    )
