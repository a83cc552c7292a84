"""Which files of the directory to look at, and when. Files and time, but no waiting: directory.py waits.

1. Only files with news are read: those that an event names, and after a change of the directory as a whole those whose
   identity changed.
2. A file that is being written keeps its last content until it is closed (files.py).
3. A file that vanishes is given a moment to come back: editors and git remove a file before they write it anew.
4. A directory that vanishes takes nothing along: the last objects stay until it is back.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kproxy.errors import ObjectError, SourceError
from kproxy.sources.files import Identity, identity_of, is_manifest, read_file
from kproxy.sources.manifests import FileNews, ManifestSet, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kproxy.sources.changes import ChangeBatch

GRACE_S: Final = 0.025
"""For how long a file that vanished is awaited. Part of the 100 ms that a change may take to the kernel."""

RETRY_S: Final = 0.5
"""How often a file that is being written is looked at, should the news that it was closed be missed."""


class Folder:
    """The files of a directory and their objects. Times are seconds of any clock that does not go back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifests = ManifestSet()
        # name -> when to look at it
        self._due: dict[str, float] = {}
        # Created, but not yet known to be closed.
        self._fresh: set[str] = set()
        # Not there at the last look.
        self._absent: set[str] = set()
        self._unreadable: set[str] = set()
        self._identities: dict[str, Identity | None] = {}
        # Device and inode of the directory that was read last, and what is wrong with the path now.
        self._directory: tuple[int, int] | None = None
        self._lost: ObjectError | None = None
        # The problems told last; None: nothing was told yet.
        self._told: list[str] | None = None
        self._told_lost: ObjectError | None = None

    def scan(self, now: float) -> None:
        """Look at every file whose identity changed, and at those that are gone. The directory may be another one."""
        try:
            with os.scandir(self.path) as listing:
                names = {entry.name for entry in listing if is_manifest(entry.name)}
            status = self.path.stat()
        except OSError as error:
            self.lose(f"{(error.strerror or 'error').lower()}; the objects it held last stay until it is back")
            return
        directory = (status.st_dev, status.st_ino)
        self._identities = {name: was for name, was in self._identities.items() if name in names}
        known = self._manifests.names()
        if directory != self._directory and known and not names:
            self.lose("another directory, and an empty one; the last objects stay until files come")
            return
        self._directory, self._lost = directory, None
        for name in known | names:
            identity = identity_of(self.path / name)
            if identity is None or identity != self._identities.get(name):
                self._due.setdefault(name, now)

    def lose(self, why: str) -> None:
        """Note that the directory can't be read or watched; its objects stay."""
        self._lost = ObjectError(str(self.path), "", why)
        self._directory = None
        self._due.clear()
        self._absent.clear()
        self._fresh.clear()

    def replaced(self) -> bool:
        """Tell whether the path leads to another directory than at the last scan, or was lost then."""
        try:
            status = self.path.stat()
        except OSError:
            return self._lost is None
        return self._directory != (status.st_dev, status.st_ino)

    def require(self) -> None:
        """Raise SourceError if the path does not lead to a directory that can be listed."""
        try:
            os.scandir(self.path).close()
        except OSError as error:
            what = f"manifest directory {self.path}: {(error.strerror or 'error').lower()}"
            raise SourceError(what, remedy="create it, or name another one with --manifests") from None

    def links(self) -> list[Path]:
        """Return the manifests that are symlinks."""
        try:
            with os.scandir(self.path) as listing:
                return [self.path / e.name for e in listing if is_manifest(e.name) and e.is_symlink()]
        except OSError:
            return []

    def closed(self, name: str, now: float) -> None:
        """Note that a file is whole now: closed by its writer, or moved to its place."""
        self._fresh.discard(name)
        self._due[name] = now

    def created(self, name: str, now: float) -> None:
        """Note that there is a new file, which may be empty yet."""
        self._fresh.add(name)
        self._due[name] = now

    def removed(self, name: str, now: float) -> None:
        """Note that a file went away."""
        self._fresh.discard(name)
        self._due[name] = now

    def touched(self, name: str, now: float) -> None:
        """Note that a file's permissions may have changed: worth a look if it could not be read."""
        if name in self._unreadable:
            self._due.setdefault(name, now)

    def next_look(self) -> float | None:
        """Return when to call `look`, None if nothing is due."""
        return min(self._due.values(), default=None)

    def ripe(self, now: float) -> bool:
        """Tell whether `look` might have something to tell."""
        when = self.next_look()
        return self._told is None or self._lost is not self._told_lost or (when is not None and when <= now)

    def look(self, now: float, *, as_is: bool = False) -> ChangeBatch | None:
        """Look at the files that are due; None if there is nothing new to tell.

        `as_is`: take files that are being written, or are gone, at their word.
        """
        due = sorted(name for name, when in self._due.items() if as_is or when <= now)
        news = self._news(due, now, as_is=as_is)
        if None in news.values() and self.replaced():
            # They went with their directory.
            news = {name: what for name, what in news.items() if what is not None}
            self.scan(now)
        if not news and self._told is not None and self._lost is self._told_lost:
            return None
        return self._told_once(self._manifests.update(news))

    def _news(self, names: Iterable[str], now: float, *, as_is: bool) -> dict[str, FileNews]:
        news: dict[str, FileNews] = {}
        for name in names:
            path = self.path / name
            del self._due[name]
            found = read_file(path, fresh=name in self._fresh, now=as_is)
            if found is None:
                self._due[name] = now + RETRY_S
                continue
            what = found.news
            if what is None and not as_is and name in self._manifests.names() and name not in self._absent:
                self._absent.add(name)
                self._due[name] = now + GRACE_S
                continue
            self._absent.discard(name)
            if what is None and path.is_symlink() and not path.is_dir():
                what = Unreadable("a symlink to a file that is not there")
            self._identities[name] = found.identity
            if isinstance(what, Unreadable):
                self._unreadable.add(name)
            else:
                self._unreadable.discard(name)
            if what is not None or name in self._manifests.names():
                news[name] = what
        return news

    def _told_once(self, batch: ChangeBatch) -> ChangeBatch | None:
        if self._lost is not None:
            batch = replace(batch, problems=(self._lost, *batch.problems))
        self._told_lost = self._lost
        problems = [str(problem) for problem in batch.problems]
        if not batch.changes and problems == self._told:
            return None
        self._told = problems
        return batch
