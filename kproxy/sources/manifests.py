"""The objects of a directory of manifests, as its files come, change and go. A state machine without I/O.

1. A fault in one document concerns that document alone: the object that it held last stays, or, where the text is
   so broken that nobody can say which object it is, all that the file gave last and does not give any more.
2. Of two manifests of one object the first counts (by file name, then position); the second is a problem that is
   reported, and takes over when the first goes.
3. Text that was read before is not read again, in whichever file it turns up (recall.py); kept are the objects and a
   hash of each piece of text, not the text and not the raw data.
4. After any sequence of updates without faults the objects are those of a fresh read of the same files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kproxy.errors import ObjectError
from kproxy.kube.decode import printable
from kproxy.sources.changes import Change, ChangeBatch
from kproxy.sources.recall import Memory, Placed, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kproxy.kube.wire import KubeObject
    from kproxy.sources.reading import Ident

MAX_PROBLEMS = 1_000
"""Problems of one kind (faults, doubles) that are told of one file; of the others only their number."""

_Objects = dict["Ident", "KubeObject"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is there, but whose content can't be had; `why` says it in a few words."""

    why: str


FileNews = bytes | Unreadable | None
"""What is known of a file now: its content, that it can't be read, or that it is gone."""


@dataclass(slots=True)
class _File:
    """What one file gives: `objects` are those in effect, some from an earlier content perhaps; the rest is of now."""

    objects: _Objects = field(default_factory=dict)
    placed: Placed = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    faults: list[ObjectError] = field(default_factory=list)


class ManifestSet:
    """The files of a directory and the objects they add up to."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        # object -> the names of the files that give it, sorted: the first one counts
        self._givers: dict[Ident, tuple[str, ...]] = {}
        self._contested: set[Ident] = set()

    def names(self) -> set[str]:
        """Return the names of the files of which something is known, be it that they can't be read."""
        return set(self._files)

    def update(self, files: Mapping[str, FileNews]) -> ChangeBatch:
        """Take news of files (by name, "web.yaml") and return what has changed, and all problems there are now."""
        memory = Memory()
        for name in files:
            if name in self._files:
                memory.add(self._files[name].memory)
        before: dict[Ident, KubeObject | None] = {}
        for name in sorted(files):
            self._take(name, files[name], memory, before)
        changes = []
        for ident, was in before.items():
            now = self._object(ident)
            if now != was:
                changes.append(Change(*ident, now))
        return ChangeBatch(tuple(changes), tuple(self._problems()))

    def _take(self, name: str, news: FileNews, memory: Memory, before: dict[Ident, KubeObject | None]) -> None:
        """Take the news of one file; `before` collects the objects that may change, as they were."""
        old = self._files.get(name, _NO_FILE)
        new = _file_now(name, news, old, memory)
        changed = [ident for ident, obj in new.objects.items() if old.objects.get(ident) is not obj]
        gone = [ident for ident in old.objects if ident not in new.objects]
        for ident in (*changed, *gone):
            before.setdefault(ident, self._object(ident))
        for ident in gone:
            self._set_givers(ident, tuple(giver for giver in self._givers[ident] if giver != name))
        alone = (name,)
        for ident in changed:
            givers = self._givers.get(ident, ())
            if name not in givers:
                self._set_givers(ident, tuple(sorted((*givers, name))) if givers else alone)
        if news is None:
            self._files.pop(name, None)
        else:
            self._files[name] = new

    def _set_givers(self, ident: Ident, givers: tuple[str, ...]) -> None:
        if givers:
            self._givers[ident] = givers
        else:
            del self._givers[ident]
        if len(givers) > 1:
            self._contested.add(ident)
        else:
            self._contested.discard(ident)

    def _object(self, ident: Ident) -> KubeObject | None:
        givers = self._givers.get(ident)
        return None if givers is None else self._files[givers[0]].objects[ident]

    def _problems(self) -> Iterator[ObjectError]:
        lines = {name: _lines(self._files[name].placed) for name in self._names_contesting()}
        doubles: dict[str, list[ObjectError]] = {}
        for ident in sorted(self._contested):
            first, *others = (_place(name, lines[name].get(ident)) for name in self._givers[ident])
            for name, place in zip(self._givers[ident][1:], others, strict=True):
                doubles.setdefault(name, []).append(_double(place, ident, first))
        for name in sorted(name for name, file in self._files.items() if file.faults or name in doubles):
            yield from _told(name, self._files[name].faults)
            yield from _told(name, doubles.get(name, []))

    def _names_contesting(self) -> set[str]:
        return {name for ident in self._contested for name in self._givers[ident]}


_NO_FILE = _File()


def _file_now(name: str, news: FileNews, old: _File, memory: Memory) -> _File:
    if news is None:
        return _NO_FILE
    if isinstance(news, Unreadable):
        return _File(old.objects, old.placed, old.memory, [ObjectError(name, "", news.why)])
    placed, seen = read_file(name, news, memory)
    # A piece that stands in two files that are new at once is read once.
    memory.add(seen)
    file = _File(placed=placed, memory=seen)
    doubles: list[tuple[int, Ident]] = []
    refused: set[Ident | None] = set()
    for line, reading in placed:
        for entry in reading.entries:
            ident = entry.ident
            if entry.obj is None or ident is None:
                refused.add(ident)
                file.faults.append(ObjectError(_place(name, line + entry.line), entry.field, entry.what))
            elif ident in file.objects:
                doubles.append((line + entry.line, ident))
            else:
                file.objects[ident] = entry.obj
    if doubles:
        lines = _lines(placed)
        file.faults.extend(_double(_place(name, line), ident, _place(name, lines[ident])) for line, ident in doubles)
    if refused:
        for ident, obj in old.objects.items():
            if ident not in file.objects and (ident in refused or None in refused):
                file.objects[ident] = obj
    return file


def _told(name: str, problems: list[ObjectError]) -> Iterator[ObjectError]:
    yield from problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        yield ObjectError(name, "", f"{len(problems) - MAX_PROBLEMS:,} more problems like these")


def _lines(placed: Placed) -> dict[Ident, int]:
    """Return the line on which each object of a file stands: of several the first that could be read."""
    good: dict[Ident, int] = {}
    refused: dict[Ident, int] = {}
    for line, reading in placed:
        for entry in reading.entries:
            if entry.ident is not None:
                (good if entry.obj is not None else refused).setdefault(entry.ident, line + entry.line)
    return {**refused, **good}


def _place(name: str, line: int | None) -> str:
    return name if line is None else f"{name}:{line}"


def _double(place: str, ident: Ident, first: str) -> ObjectError:
    kind, key = ident
    return ObjectError(place, "", f"{kind} {printable(key)} is given before, at {first}, and that one counts")
