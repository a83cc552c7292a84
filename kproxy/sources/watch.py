"""Being told of changes in a directory, and of every change on the way to it and to what its symlinks point at.

A path is found by looking up one name after the other: `/etc`, `manifests -> current`, `current -> v2`, ... Whoever
replaces a directory or turns a symlink changes one of these names in its directory, so each of these directories is
watched, for that name alone. That covers directories that are replaced, symlinks that are turned (a mounted ConfigMap,
git-sync), files outside that a symlink leads to, and directories that do not exist yet.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, NamedTuple, Self

from asyncinotify import Inotify, Mask

from kproxy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from asyncinotify import Event, Watch

_MASK = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.CREATE
    | Mask.DELETE
    | Mask.ATTRIB
    | Mask.ONLYDIR
    | Mask.EXCL_UNLINK
)

MAX_FOLLOWS = 5
"""How often to try to keep up with symlinks that are being turned; what is missed then is seen at the next event."""

MAX_LINKS = 40
"""Symlinks on the way to one file; the kernel's own limit."""


class Noted(NamedTuple):
    """What happened: names in the directory and what became of them, in order; `elsewhere`: look at everything."""

    events: list[tuple[str, Mask]]
    elsewhere: bool


class PathWatch:
    """A watch on a directory and the ways to it. A context manager."""

    def __init__(self) -> None:
        try:
            self._inotify = Inotify(sync_timeout=0)
        except OSError as error:
            remedy = "raise the sysctl fs.inotify.max_user_instances" if error.errno == errno.EMFILE else ""
            raise SourceError(f"inotify: {error.strerror}", remedy=remedy) from None
        # directory -> the names that matter in it, and the watch on it
        self._names: dict[str, set[str]] = {}
        self._watches: dict[str, Watch] = {}
        self._directory = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inotify.close()

    def follow(self, directory: Path, files: Iterable[Path]) -> None:
        """Watch a directory, all on the way to it, and all on the way to `files` (symlinks in it).

        Raises SourceError if the directory is there but can't be watched.
        """
        paths = (directory, *files)
        names = _names(paths)
        for _ in range(MAX_FOLLOWS):
            self._names, self._directory = names, os.path.realpath(directory)
            # A path watched before may lead to another directory now; adding a watch twice gives the same one.
            before = self._watches
            self._watches = {path: watch for path in {*names, self._directory} if (watch := self._add(path))}
            for watch in before.values():
                if watch not in self._watches.values():
                    self._remove(watch)
            # What was turned before its watch was there went unseen.
            names = _names(paths)
            if names == self._names:
                return

    def _add(self, directory: str) -> Watch | None:
        try:
            return self._inotify.add_watch(directory, _MASK)
        except OSError as error:
            if directory != self._directory or error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            remedy = "raise the sysctl fs.inotify.max_user_watches" if error.errno == errno.ENOSPC else ""
            raise SourceError(f"inotify on {directory}: {error.strerror}", remedy=remedy) from None

    def _remove(self, watch: Watch) -> None:
        try:
            self._inotify.rm_watch(watch)
        except OSError as error:
            # EINVAL: the kernel has removed it with its directory.
            if error.errno != errno.EINVAL:
                raise

    async def wait(self, timeout_s: float) -> Noted:
        """Wait until something happens, or the time is over; return all that has happened so far."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._inotify.fd, readable.set)
        try:
            async with asyncio.timeout(timeout_s):
                await readable.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._inotify.fd)
        noted = Noted([], False)
        while (event := self._inotify.sync_get()) is not None:
            noted = self._note(noted, event)
        return noted

    def _note(self, noted: Noted, event: Event) -> Noted:
        if Mask.Q_OVERFLOW in event.mask:
            return noted._replace(elsewhere=True)
        # Several paths may lead to one directory.
        watch = event.watch
        directories = [path for path, ours in self._watches.items() if ours is watch]
        if event.mask & (Mask.IGNORED | Mask.UNMOUNT):
            for directory in directories:
                del self._watches[directory]
            # None: the watch was taken back by `follow`.
            return noted._replace(elsewhere=noted.elsewhere or bool(directories))
        name = os.fspath(event.name) if event.name is not None else ""
        if self._directory in directories and name:
            noted.events.append((name, event.mask))
        matters = any(name in self._names.get(directory, ()) for directory in directories)
        return noted._replace(elsewhere=noted.elsewhere or matters)


def _names(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Return directory -> the names that finding the paths looks up in it."""
    names: dict[str, set[str]] = {}
    for path in paths:
        for parent, name in lookups(path):
            names.setdefault(parent, set()).add(name)
    return names


def lookups(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each (directory, name) that finding a path looks up, symlinks followed, as far as it leads."""
    here = "/"
    todo = list(reversed(path.absolute().parts[1:]))
    links = 0
    while todo and links <= MAX_LINKS:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)  # noqa: PTH120
            continue
        yield here, name
        step = os.path.join(here, name)  # noqa: PTH118
        try:
            target = os.readlink(step)  # noqa: PTH115
        except OSError as error:
            if error.errno != errno.EINVAL:
                return
            # Not a symlink.
            here = step
            continue
        links += 1
        here = "/" if target.startswith("/") else here
        todo.extend(reversed(target.split("/")))
