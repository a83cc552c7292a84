"""The manifest source: a directory of YAML and JSON files, read and watched (Linux, inotify)."""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncinotify import Mask

from kproxy.errors import SourceError
from kproxy.sources.changes import ChangeBatch
from kproxy.sources.files import is_manifest
from kproxy.sources.folder import Folder
from kproxy.sources.watch import PathWatch
from kproxy.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path

FIRST_WAIT_S: Final = 1.0
"""For how long the first batch waits for files that are being written; then they are taken as they are."""

CHECK_S: Final = 5.0
"""How often to see whether the path leads elsewhere: inotify says nothing of a mount over the directory."""


class ManifestDirectory:
    """The objects in `*.yaml`, `*.yml` and `*.json` of one directory (not below it)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def given(cls, path: Path) -> ManifestDirectory:
        """Return that of --manifests. Raises SourceError if it is none, before anything else is done."""
        try:
            what = "" if path.is_dir() else "no such directory"
        except OSError as error:  # of a directory on the way to it
            what = (error.strerror or "error").lower()
        if what:
            raise SourceError(f"--manifests {path}: {what}", remedy="create it, or name another")
        return cls(path)

    def read_once(self) -> ChangeBatch:
        """Return all objects there are now, and all problems. Raises SourceError if there is no such directory."""
        folder = Folder(self.path)
        folder.require()
        folder.scan(0)
        return _look(folder, 0, as_is=True) or ChangeBatch()

    async def changes(self) -> AsyncGenerator[ChangeBatch, None]:
        """Yield first all there is (an empty batch if there is nothing), then a batch at every change.

        Raises SourceError at the start if there is no such directory or it can't be watched. What goes wrong later is
        among the batches' problems, while the last good objects stay.
        """
        clock = asyncio.get_running_loop().time
        folder = Folder(self.path)
        folder.require()
        with PathWatch() as watch:
            watch.follow(self.path, folder.links())
            folder.scan(clock())
            yield await _first(folder, clock)
            while True:
                await _news(folder, watch, clock)
                # In the way to the directory there may be busy ones, /tmp say.
                if folder.ripe(clock()):
                    batch = await in_thread(partial(_look, folder, clock()))
                    if batch is not None:
                        yield batch


async def _first(folder: Folder, clock: Callable[[], float]) -> ChangeBatch:
    """Return the first batch, once all files are whole."""
    deadline = clock() + FIRST_WAIT_S
    batch = ChangeBatch()
    while (when := folder.next_look()) is not None:
        await asyncio.sleep(min(when, deadline) - clock())
        late = clock() >= deadline
        more = await in_thread(partial(_look, folder, clock(), as_is=late))
        if more is not None:
            changes = {(change.kind, change.key): change for change in (*batch.changes, *more.changes)}
            batch = ChangeBatch(tuple(changes.values()), more.problems)
        if late:
            break
    return batch


async def _news(folder: Folder, watch: PathWatch, clock: Callable[[], float]) -> None:
    """Wait until there is something to look at, or it is time to."""
    when = folder.next_look()
    noted = await watch.wait(CHECK_S if when is None else min(CHECK_S, when - clock()))
    now = clock()
    elsewhere = noted.elsewhere
    for name, mask in noted.events:
        if is_manifest(name):
            elsewhere = _note(folder, name, mask, now) or elsewhere
    if elsewhere or folder.replaced():
        try:
            watch.follow(folder.path, folder.links())
        except SourceError as error:
            folder.lose(f"{error}; its last objects stay")
        else:
            folder.scan(now)


def _note(folder: Folder, name: str, mask: Mask, now: float) -> bool:
    """Tell the folder of an event; return whether it concerns a symlink, whose target is to be followed."""
    is_link = (folder.path / name).is_symlink()
    if mask & Mask.ATTRIB:
        folder.touched(name, now)
    elif mask & (Mask.DELETE | Mask.MOVED_FROM):
        folder.removed(name, now)
    elif mask & Mask.CREATE and not is_link:
        folder.created(name, now)
    elif mask & (Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO):
        folder.closed(name, now)
    return is_link


def _look(folder: Folder, now: float, *, as_is: bool = False) -> ChangeBatch | None:
    with _gc_paused():
        return folder.look(now, as_is=as_is)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector from running over 100,000 new objects, none of which is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
