"""Reading one file of the directory, and never a half-written one for a whole one."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kproxy.sources.manifests import FileNews, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 128 * 2**20
"""Bigger files are refused. 20,000 objects as `kubectl get -o json` prints them are 50 MiB."""

STALLED_S = 10.0
"""A file that is open for writing, but was not written to for so long, is read all the same."""

TICK_NS = 20_000_000
"""Longer than a tick of the clock that file times come from (10 ms where the kernel ticks at 100 Hz)."""

_WORDS = {
    errno.EACCES: "permission denied",
    errno.ELOOP: "symlinks that lead in a circle",
    errno.ENAMETOOLONG: "the name is too long",
}


class Identity(NamedTuple):
    """What a file's content can't change without changing (but within one tick of the kernel's clock)."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path. `news` None: no file is there. `identity` None: look again at the next occasion."""

    news: FileNews
    identity: Identity | None = None


def is_manifest(name: str) -> bool:
    """Tell whether a file of this name is read: not a hidden one, nor an editor's copy (`x.yaml~`, `#x.yaml#`)."""
    return name.endswith((".yaml", ".yml", ".json")) and not name.startswith((".", "#"))


def identity_of(path: Path) -> Identity | None:
    """Return a file's identity, symlinks followed; None where there is none to be had."""
    try:
        return _identity(path.stat())
    except OSError:
        return None


def read_file(path: Path, *, fresh: bool = False, now: bool = False) -> Found | None:
    """Return what is at a path; None if it is being written, so that there will be news of it.

    `fresh`: the file has just been created, and no news that it was closed. Then, and only where the kernel does not
    tell whether someone has it open for writing, it counts as being written. `now`: take it as it is.
    """
    try:
        # Before it is opened: to open a device may do things.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return Found(None)
        if not stat.S_ISREG(status.st_mode):
            return Found(Unreadable("not a regular file"), _identity(status))
        if status.st_size > MAX_BYTES:
            why = f"{status.st_size / 2**20:.0f} MiB are more than the {MAX_BYTES // 2**20} MiB that are read"
            return Found(Unreadable(f"{why} - split the file"), _identity(status))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return Found(None)
    except OSError as error:
        return Found(Unreadable(f"can't be read: {_words(error)}"))
    try:
        return _read(fd, fresh=fresh, now=now)
    except OSError as error:
        return Found(Unreadable(f"can't be read: {_words(error)}"))
    finally:
        os.close(fd)


def _read(fd: int, *, fresh: bool, now: bool) -> Found | None:
    before = os.fstat(fd)
    if not now and _being_written(fd, before, fresh=fresh):
        return None
    parts = []
    size = 0
    while size <= MAX_BYTES and (part := os.read(fd, 2**24)):
        parts.append(part)
        size += len(part)
    after = os.fstat(fd)
    # A writer may have come while this one read.
    torn = _identity(before) != _identity(after) or size != after.st_size or _being_written(fd, after, fresh=False)
    if torn and not now:
        return None
    # Written to in this very tick of the clock: the next write may leave no trace.
    young = time.time_ns() - max(after.st_ctime_ns, after.st_mtime_ns) < TICK_NS
    return Found(b"".join(parts), None if young else _identity(after))


def _being_written(fd: int, status: os.stat_result, *, fresh: bool) -> bool:
    """Tell whether someone has a file open for writing.

    The kernel says so by refusing a read lease (`man 2 fcntl`, F_SETLEASE). The lease is given back at once, and the
    signal that would tell of a writer who came in between is one that is ignored by default. A file that nobody
    writes to for a while is taken as it is (NFS refuses leases always), unless it is empty: someone has cut it.
    """
    stalled = status.st_size > 0 and time.time() - status.st_mtime > STALLED_S
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            return not stalled
        # No leases here (another owner's file without CAP_LEASE, a file system without them). A hard link is made
        # to a file that is whole.
        return fresh and status.st_nlink == 1 and not stalled
    return False


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _words(error: OSError) -> str:
    return _WORDS.get(error.errno or 0) or os.strerror(error.errno or 0).lower()
